#include "dataplane/pktgen/command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <functional>
#include <limits>
#include <map>
#include <memory>

#include "dataplane/pktgen/profile_text.h"

namespace sluice::pktgen {

namespace {

constexpr char kProfileGroup[] = "Profile (also fields of --profile FILE)";
constexpr char kSearchGroup[] = "Search";
constexpr char kPortGroup[] = "Ports and lcores";
constexpr char kOutputGroup[] = "Results";

using Fields = std::vector<std::string_view>;

// What a search decides itself.
const Fields kNotOfThroughput{"sizes",           "count",
                              "duration-s",      "packets-per-second",
                              "bits-per-second", "connections-per-second",
                              "probe",           "pcap",
                              "pcap-timing"};
const Fields kNotOfConnections{"count",
                               "duration-s",
                               "packets-per-second",
                               "bits-per-second",
                               "connections-per-second",
                               "probe",
                               "pcap",
                               "pcap-timing",
                               "l4",
                               "life-cycle",
                               "choice",
                               "zipf-exponent"};

template <class Number>
Result<Number> whole(std::string_view text) {
    SLUICE_TRY_ASSIGN(const std::uint64_t value, parse_count(text));
    if (value > std::numeric_limits<Number>::max()) {
        return make_error(Code::kInvalidArgument, "{} is more than {}", value,
                          std::numeric_limits<Number>::max());
    }
    return static_cast<Number>(value);
}

Result<std::vector<Role>> parse_roles(std::string_view text) {
    std::vector<Role> out;
    for (std::size_t at = 0; at <= text.size();) {
        const std::size_t comma = std::min(text.find(',', at), text.size());
        const std::string_view role = text.substr(at, comma - at);
        if (role != "both" && role != "send" && role != "receive") {
            return make_error(Code::kInvalidArgument, "\"{}\" is none of both, send, receive",
                              role);
        }
        out.push_back(role == "both" ? Role::kBoth : role == "send" ? Role::kSend : Role::kReceive);
        at = comma + 1;
    }
    return out;
}

Result<std::vector<std::uint32_t>> parse_frame_sizes(std::string_view text) {
    SLUICE_TRY_ASSIGN(const auto sizes, parse_sizes(text));
    std::vector<std::uint32_t> out;
    for (const SizeShare& size : sizes) {
        if (size.weight != 1) {
            return make_error(Code::kInvalidArgument,
                              "sizes have no weights: each is searched by itself");
        }
        out.push_back(size.frame_bytes);
    }
    return out;
}

// A flag that fills a field of the command. Values are kept as text until the profile's file has
// been read.
class Flags {
public:
    explicit Flags(CLI::App* app) : app_(app) {}

    template <class Value>
    void add(const char* name, const char* value, const char* help, const char* group,
             Result<Value> (*parse)(std::string_view), Value* into) {
        setters_[name] = [=](const std::string& text) -> Result<void> {
            SLUICE_TRY_ASSIGN(*into, parse(text));
            return {};
        };
        option(name, value, help, group);
    }
    void add_text(const char* name, const char* value, const char* help, const char* group,
                  std::string* into) {
        setters_[name] = [=](const std::string& text) -> Result<void> {
            *into = text;
            return {};
        };
        option(name, value, help, group);
    }
    void add_profile(const Fields& without, Profile* profile) {
        const Profile defaults = *profile;
        for (const ProfileField& field : profile_fields()) {
            if (std::find(without.begin(), without.end(), field.name) != without.end()) {
                continue;
            }
            setters_[std::string(field.name)] = [profile, &field](const std::string& text) {
                return field.set(*profile, text);
            };
            const std::string shown = field.get(defaults);
            option(std::string(field.name), std::string(field.value),
                   std::string(field.help) +
                       (shown.empty() || shown == "::" ? "" : " [" + shown + "]"),
                   kProfileGroup);
        }
    }
    // All that were given. An error names the flag.
    Result<void> apply() const {
        for (const auto& [name, text] : given_) {
            if (app_->get_option("--" + name)->count() == 0) {
                continue;
            }
            if (auto set = setters_.at(name)(text); !set) {
                return set.error().with_context("--" + name);
            }
        }
        return {};
    }

private:
    void option(const std::string& name, const std::string& value, const std::string& help,
                const char* group) {
        app_->add_option("--" + name, given_[name], help)->type_name(value)->group(group);
    }

    CLI::App* app_;
    std::map<std::string, std::string> given_;
    std::map<std::string, std::function<Result<void>(const std::string&)>> setters_;
};

Result<double> parse_seconds(std::string_view text) {
    return parse_quantity(text);
}

Result<std::optional<double>> parse_some_share(std::string_view text) {
    SLUICE_TRY_ASSIGN(const double share, parse_share(text));
    return std::optional<double>(share);
}

void add_ports(Flags& flags, RunnerOptions& runner) {
    flags.add(
        "roles", "ROLE,...",
        "both, send or receive, for each port in the EAL's order [the first of several sends]",
        kPortGroup, &parse_roles, &runner.roles);
    flags.add("send-lcores", "N", "Lcores that send [chosen]", kPortGroup, &whole<unsigned>,
              &runner.send_lcores);
    flags.add("receive-lcores", "N", "Lcores that receive [chosen]", kPortGroup, &whole<unsigned>,
              &runner.receive_lcores);
    flags.add("max-frame-bytes", "N",
              "The longest frame that ports take, with the link's checksum [1522]", kPortGroup,
              &whole<std::uint32_t>, &runner.max_frame_bytes);
    flags.add("descriptors", "N", "Of each queue [1024]", kPortGroup, &whole<std::uint16_t>,
              &runner.descriptors);
    flags.add("link-wait-s", "SECONDS", "How long to wait for links to come up [5]", kPortGroup,
              &parse_seconds, &runner.link_wait_s);
    flags.add("neighbour-wait-s", "SECONDS", "How long to wait for an answer to ARP or ND [3]",
              kPortGroup, &parse_seconds, &runner.neighbour_wait_s);
    flags.add("interval-s", "SECONDS", "Between two samples of display and series [1]", kPortGroup,
              &parse_seconds, &runner.display_interval_s);
}

void add_search(Flags& flags, SearchOptions& search, bool connections) {
    flags.add("trial-s", "SECONDS", "How long a trial lasts [60]", kSearchGroup, &parse_seconds,
              &search.trial_s);
    flags.add("loss-tolerance", "SHARE", "What a trial may lose, as 0.001 or 0.1% [0]",
              kSearchGroup, &parse_share, &search.loss_tolerance);
    flags.add("resolution", "SHARE", "Of the highest rate: when to stop [0.005]", kSearchGroup,
              &parse_share, &search.resolution);
    flags.add("repeat", "N", "Trials that have to confirm the rate found [3]", kSearchGroup,
              &whole<std::uint32_t>, &search.repeat_at_end);
    flags.add("settle-s", "SECONDS", "Pause between two trials [5]", kSearchGroup, &parse_seconds,
              &search.settle_s);
    if (connections) {
        flags.add("max-connections-per-second", "RATE",
                  "Where to begin [what a trial without a limit reaches]", kSearchGroup,
                  &parse_quantity, &search.max_connections_per_second);
        return;
    }
    flags.add("frame-bytes", "BYTES,...",
              "Sizes to search, with the link's checksum [64,128,256,512,1024,1280,1518]",
              kSearchGroup, &parse_frame_sizes, &search.frame_bytes);
    flags.add("max-packets-per-second", "RATE",
              "Where to begin [what a trial without a limit reaches]", kSearchGroup,
              &parse_quantity, &search.max_packets_per_second);
    flags.add("line-bits-per-second", "RATE",
              "Of the slowest link on the way, if it is known: the ceiling", kSearchGroup,
              &parse_quantity, &search.line_bits_per_second);
}

void add_outputs(Flags& flags, Command& command) {
    for (const auto& [name, into] : {std::pair{"json", &command.json},
                                     {"csv", &command.csv},
                                     {"markdown", &command.markdown},
                                     {"svg", &command.svg}}) {
        flags.add_text(name, "FILE", "Results in this form; - for standard output", kOutputGroup,
                       into);
    }
}

// One of the subcommands that send.
struct Sending {
    CLI::App* app;
    Flags flags;
    Action action;
    Command command;

    Sending(CLI::App& parent, const char* name, const char* help, Action what)
        : app(parent.add_subcommand(name, help)), flags(app), action(what) {
        command.action = what;
        if (what == Action::kConnections) {
            command.profile.l4 = L4::kTcp;
            command.profile.life_cycle = LifeCycle::kStateful;
        }
        app->add_option("--profile", profile_file_,
                        "A YAML file of fields; flags come on top of it")
            ->type_name("FILE")
            ->group(kProfileGroup);
        app->add_flag("--dump-profile", dump_, "Print the profile as such a file, and exit")
            ->group(kProfileGroup);
        flags.add_profile(what == Action::kThroughput    ? kNotOfThroughput
                          : what == Action::kConnections ? kNotOfConnections
                                                         : Fields{},
                          &command.profile);
        if (what == Action::kRun) {
            flags.add("max-loss", "SHARE", "Exit with 3 if more was lost, as 0.001 or 0.1%",
                      kOutputGroup, &parse_some_share, &command.max_loss);
        } else {
            add_search(flags, command.search, what == Action::kConnections);
        }
        add_ports(flags, command.runner);
        add_outputs(flags, command);
        app->add_flag("--quiet", command.quiet, "Show nothing while it runs")->group(kOutputGroup);
        app->set_help_flag("-h,--help", "Print this, and exit");
    }

    Result<Command> finish() {
        if (!profile_file_.empty()) {
            SLUICE_TRY_ASSIGN(command.profile, load_profile(profile_file_, command.profile));
        }
        SLUICE_TRY(flags.apply());
        SLUICE_TRY(agree());
        if (dump_) {
            command.action = Action::kPrint;
            command.text = profile_to_yaml(command.profile);
        }
        return std::move(command);
    }

private:
    // What one flag asks of another.
    Result<void> agree() {
        Profile& profile = command.profile;
        if (action == Action::kThroughput) {
            profile.sizes.clear();
            for (const std::uint32_t bytes : command.search.frame_bytes) {
                profile.sizes.push_back({bytes, 1});
            }
        }
        SLUICE_TRY(check(profile));
        if (action != Action::kRun) {
            SLUICE_TRY(check(command.search));
        }
        if (command.max_loss && (!profile.probe || !profile.pcap.empty())) {
            return make_error(Code::kInvalidArgument,
                              "--max-loss: without probes nothing is known of loss");
        }
        const auto wrong = [](const char* name, const char* what) {
            return make_error(Code::kInvalidArgument, "--{}: {}", name, what);
        };
        if (command.runner.display_interval_s < 0.01 || command.runner.display_interval_s > 3600) {
            return wrong("interval-s", "not between 0.01 and 3600 seconds");
        }
        for (const SizeShare& size : profile.sizes) {
            if (size.frame_bytes > kMaxFrameBytes) {
                return wrong(action == Action::kThroughput ? "frame-bytes" : "sizes",
                             "a frame is longer than 9622 bytes");
            }
            // A tag comes on top of what RFC 2544 calls the size of a frame.
            command.runner.max_frame_bytes =
                std::max(command.runner.max_frame_bytes, size.frame_bytes);
        }
        std::size_t to_stdout = 0;
        for (const std::string* file :
             {&command.json, &command.csv, &command.markdown, &command.svg}) {
            to_stdout += *file == "-" ? 1 : 0;
        }
        if (to_stdout > 1) {
            return make_error(Code::kInvalidArgument,
                              "only one of --json, --csv, --markdown and --svg may be -");
        }
        return {};
    }

    std::string profile_file_;
    bool dump_ = false;
};

Command printed(std::string text) {
    Command out;
    out.text = std::move(text);
    return out;
}

}  // namespace

Result<double> parse_share(std::string_view text) {
    const bool percent = text.ends_with('%');
    auto value = parse_quantity(text.substr(0, text.size() - (percent ? 1 : 0)));
    const double share = value ? *value / (percent ? 100 : 1) : 2;
    if (share > 1) {
        return make_error(Code::kInvalidArgument,
                          "\"{}\" is not a share from 0 to 1, or 0% to 100%", text);
    }
    return share;
}

Result<Command> parse_command(const std::vector<std::string>& arguments) {
    const auto dashes = std::find(arguments.begin(), arguments.end(), "--");
    CLI::App app(
        "sluice-pktgen: sends packets through a device and says what became of them.\n"
        "What follows \"--\" is DPDK's: its lcores and ports, as in -- -l 0,1 "
        "--vdev=net_af_packet0,iface=eth1",
        "sluice-pktgen");
    app.set_help_flag("-h,--help", "Print this, and exit");
    app.set_help_all_flag("--help-all", "Print this and the help of all subcommands, and exit");
    std::string level = "info";
    bool version = false;
    app.add_option("--log-level", level, "trace, debug, info, warn, error or off [info]")
        ->type_name("LEVEL");
    app.add_flag("--version", version, "Print the version, and exit");
    app.require_subcommand(0, 1);
    app.fallthrough();
    std::vector<std::unique_ptr<Sending>> sending;
    sending.push_back(std::make_unique<Sending>(app, "run", "Send a profile once", Action::kRun));
    sending.push_back(std::make_unique<Sending>(
        app, "throughput", "Search the highest rate without loss (RFC 2544)", Action::kThroughput));
    sending.push_back(std::make_unique<Sending>(
        app, "connections", "Search the highest rate of TCP connections", Action::kConnections));
    CLI::App* const ports = app.add_subcommand("ports", "List the ports that DPDK finds");
    CLI::App* const version_command = app.add_subcommand("version", "Print the version");
    try {
        std::vector<std::string> ours(arguments.begin(), dashes);
        std::reverse(ours.begin(), ours.end());  // as CLI11 wants them
        app.parse(ours);
    } catch (const CLI::CallForAllHelp&) {
        return printed(app.help("", CLI::AppFormatMode::All));
    } catch (const CLI::CallForHelp&) {
        return printed(app.help());
    } catch (const CLI::Error& error) {
        return make_error(Code::kInvalidArgument, "{}", error.what());
    }
    const auto log_level = log::parse_level(level);
    if (!log_level) {
        return log_level.error().with_context("--log-level");
    }
    Command out;
    if (version || version_command->parsed()) {
        out.text = fmt::format("sluice-pktgen {}\n", SLUICE_VERSION);
    } else if (ports->parsed()) {
        out.action = Action::kPorts;
    } else {
        const auto chosen = std::find_if(sending.begin(), sending.end(),
                                         [](const auto& s) { return s->app->parsed(); });
        if (chosen == sending.end()) {
            return make_error(
                Code::kInvalidArgument,
                "say what to do: run, throughput, connections, ports or version (--help)");
        }
        SLUICE_TRY_ASSIGN(out, (*chosen)->finish());
    }
    out.log_level = *log_level;
    if (dashes != arguments.end()) {
        out.eal_arguments.assign(dashes + 1, arguments.end());
    }
    if (out.action != Action::kPrint && out.eal_arguments.empty()) {
        return make_error(Code::kInvalidArgument,
                          "DPDK's arguments are missing: -- -l 0 --vdev=net_null0, for example");
    }
    return out;
}

}  // namespace sluice::pktgen
