// See flags.h.
#include "agent/config/flags.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <boost/json.hpp>
#include <map>

#include "agent/config/fields.h"
#include "agent/config/values.h"

namespace sluice::config {
namespace {

constexpr char kActions[] = "Actions";
constexpr char kServer[] = "API server and this node";
constexpr char kServices[] = "Services";
constexpr char kEngine[] = "Engine";
constexpr char kPods[] = "Network of pods";
constexpr char kWatching[] = "Health, metrics and log";
constexpr char kHeld[] = "Flags of kube-proxy whose meaning holds here by itself";
constexpr char kRefusedGroup[] = "Flags of kube-proxy that are refused";

// The order of the help text.
constexpr const char* kOrder[] = {kActions, kServer,   kServices, kEngine,
                                  kPods,    kWatching, kHeld,     kRefusedGroup};

const char* group_of(std::string_view flag, Treatment treatment) {
    static const std::map<std::string_view, const char*> kGroups = {
        {"cleanup", kActions}, {"cleanup-kube-proxy", kActions}, {"config", kActions},
        {"write-config-to", kActions},
        {"bind-address", kServer}, {"hostname-override", kServer}, {"kubeconfig", kServer},
        {"master", kServer}, {"node-name", kServer}, {"oom-score-adj", kServer},
        {"cluster-cidr", kServices}, {"detect-local-mode", kServices}, {"forwarding", kServices},
        {"iptables-sync-period", kServices}, {"ipvs-sync-period", kServices},
        {"masquerade-all", kServices}, {"nodeport-addresses", kServices},
        {"pod-bridge-interface", kServices}, {"pod-interface-name-prefix", kServices},
        {"proxy-mode", kServices}, {"service-cluster-ip-range", kServices},
        {"bpffs", kEngine}, {"cgroup-root", kEngine}, {"devices", kEngine}, {"dpdk-socket", kEngine},
        {"dpdk-state-dir", kEngine}, {"engine", kEngine},
        {"affinity-entries", kEngine}, {"flow-entries", kEngine}, {"object-dir", kEngine}, {"snat-port-range", kEngine},
        {"xdp", kEngine},
        {"cni-conf-dir", kPods}, {"cni-data-dir", kPods}, {"cni-mtu", kPods},
        {"masquerade-pods", kPods}, {"route-pods", kPods},
    };
    if (treatment == Treatment::kHolds) return kHeld;
    if (treatment == Treatment::kRefused) return kRefusedGroup;
    const auto found = kGroups.find(flag);
    return found == kGroups.end() ? kWatching : found->second;
}

// As pflag reads them: --name_with_underscores, -v=2, -v2, and --name= for an empty value, none of which CLI11 knows.
std::vector<std::string> normalise(const std::vector<std::string>& arguments) {
    std::vector<std::string> out;
    for (std::string argument : arguments) {
        if (argument.starts_with("-v") && !argument.starts_with("--")) {
            const auto value = argument.substr(argument.size() > 2 && argument[2] == '=' ? 3 : 2);
            out.emplace_back("--v");
            if (!value.empty()) out.push_back(value);
            continue;
        }
        if (argument.starts_with("--")) {
            const auto end = std::min(argument.find('='), argument.size());
            std::replace(argument.begin(), argument.begin() + static_cast<std::ptrdiff_t>(end), '_', '-');
            if (end + 1 == argument.size()) {
                out.push_back(argument.substr(0, end));
                out.emplace_back();
                continue;
            }
        }
        out.push_back(std::move(argument));
    }
    return out;
}

class CommandLine {
public:
    CommandLine() : app_("sluice-agent: makes Services of a Kubernetes cluster work on this node.", "sluice-agent") {
        apply_defaults(&command_.config.kube_proxy);
        app_.set_help_flag("-h,--help", "print this, and exit");
        app_.get_option("--help")->group(kActions);
        app_.set_version_flag("--version", "sluice-agent " SLUICE_VERSION, "print the version, and exit");
        app_.get_option("--version")->group(kActions);
        for (const LooseFlag& flag : loose_flags()) {
            const bool action = flag.name == "cleanup" || flag.name == "init-only";
            add(flag.name, std::string(flag.about), flag.treatment, action ? "" : "TEXT", action);
        }
        add("cleanup-kube-proxy",
            "remove the rules that a kube-proxy left on this node, nothing else, and exit",
            Treatment::kHonoured, "", true);
        add("node-name", "the same as --hostname-override", Treatment::kHonoured, "TEXT", false);
        for (const auto& list : {fields(&command_.config.kube_proxy), own_fields(&command_.config.own)}) {
            for (const Field& field : list) {
                if (!field.flag.empty()) add_field(field);
            }
        }
        declare();
    }

    std::vector<std::string> names() const {
        std::vector<std::string> out{"help", "version"};
        for (const auto& [name, option] : options_) out.push_back(name);
        std::sort(out.begin(), out.end());
        return out;
    }

    Result<Command> parse(const std::vector<std::string>& arguments, const ReadFile& read_file) {
        auto words = normalise(arguments);
        // CLI11 wants them last first.
        std::reverse(words.begin(), words.end());
        try {
            app_.parse(std::move(words));
        } catch (const CLI::CallForVersion&) {
            return show("sluice-agent " SLUICE_VERSION "\n");
        } catch (const CLI::CallForHelp&) {
            return show(app_.help());
        } catch (const CLI::ParseError& error) {
            return make_error(Code::kInvalidArgument, "{}; see --help", error.what());
        }
        SLUICE_TRY(refuse_loose());
        Config& config = command_.config;
        config.master = text("master");
        if (given("config")) {
            SLUICE_TRY(load(text("config"), read_file));
        }
        SLUICE_TRY(take_fields());
        SLUICE_TRY(take_node_name());
        if (config.file.empty()) {
            SLUICE_TRY(take_ports());
        }
        SLUICE_TRY(resolve(&config));
        SLUICE_TRY(choose_kind());
        return std::move(command_);
    }

private:
    struct Declared {
        std::string name, about;
        const char* group;
        const char* type;
        bool boolean;
    };

    void add(std::string_view name, std::string about, Treatment treatment, const char* type, bool boolean) {
        declared_.push_back({std::string(name), std::move(about), group_of(name, treatment), type, boolean});
    }

    // CLI11 shows groups in the order of their first options.
    void declare() {
        for (const char* group : kOrder) {
            for (const Declared& flag : declared_) {
                if (flag.group != group) continue;
                CLI::Option* option = app_.add_option(
                    "--" + flag.name, [](const CLI::results_t&) { return true; }, flag.about);
                option->type_name(flag.type)->expected(flag.boolean ? 0 : 1, 1)->group(group);
                option->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
                options_.emplace(flag.name, option);
            }
        }
    }

    void add_field(const Field& field) {
        std::string about(field.about);
        if (!is_empty(field.slot) && field.treatment == Treatment::kHonoured) {
            const auto value = to_json(field.slot);
            about += fmt::format(" [{}]", value.is_string() ? std::string(value.get_string())
                                                            : boost::json::serialize(value));
        }
        add(field.flag, about, field.treatment, kind_name(field.slot), is_bool(field.slot));
    }

    bool given(std::string_view flag) const { return options_.find(flag)->second->count() > 0; }
    // The last of its values; empty if there is none.
    std::string text(std::string_view flag) const {
        const auto& results = options_.find(flag)->second->results();
        return results.empty() ? "" : results.back();
    }

    static Result<Command> show(std::string text) {
        Command out;
        out.kind = Command::Kind::kShow;
        out.text = std::move(text);
        return out;
    }

    Result<void> refuse_loose() const {
        for (const LooseFlag& flag : loose_flags()) {
            if (flag.treatment != Treatment::kRefused || !given(flag.name)) continue;
            // Switched off is as if it were not there.
            bool on = true;
            if (from_text(text(flag.name), &on) && !on) continue;
            return make_error(Code::kInvalidArgument, "--{} is refused: {}", flag.name, flag.about);
        }
        return {};
    }

    Result<void> load(const std::string& path, const ReadFile& read_file) {
        if (path.empty()) return make_error(Code::kInvalidArgument, "--config: no file is named");
        auto file = read_file(path);
        if (!file) {
            Error error = file.error().with_context("--config");
            if (error.code == Code::kInvalidArgument) error.code = Code::kFailedPrecondition;
            return error;
        }
        auto read = parse_config(*file);
        if (!read) {
            return Error{Code::kFailedPrecondition,
                         fmt::format("--config {}: {}", path, read.error().message), 0};
        }
        command_.config.kube_proxy = std::move(*read);
        apply_defaults(&command_.config.kube_proxy);
        command_.config.file = path;
        return {};
    }

    // A flag may be given more than once; lists grow with each, of others the last counts.
    Result<void> take(const Field& field) const {
        const auto& results = options_.find(field.flag)->second->results();
        const bool grows = std::holds_alternative<std::vector<std::string>*>(field.slot) ||
                           std::holds_alternative<FeatureGates*>(field.slot) ||
                           std::holds_alternative<VerbosityRules*>(field.slot);
        if (grows) reset(field.slot);
        for (const std::string& value : results) {
            // A switch without a value is on; CLI11 notes that as an empty text.
            const bool bare = is_bool(field.slot) && value.empty();
            if (auto taken = from_text(bare ? "true" : value, field.slot); !taken) {
                return taken.error().with_context("--" + std::string(field.flag));
            }
        }
        if (results.empty() && is_bool(field.slot)) return from_text("true", field.slot);
        return {};
    }

    Result<void> take_fields() {
        Config& config = command_.config;
        std::string overruled;
        for (const Field& field : fields(&config.kube_proxy)) {
            if (field.flag.empty() || !given(field.flag)) continue;
            const bool always = field.path.starts_with("logging.") || field.path == "hostnameOverride";
            if (config.file.empty() || always) {
                SLUICE_TRY(take(field));
            } else {
                overruled += fmt::format("{}--{}", overruled.empty() ? "" : ", ", field.flag);
            }
        }
        if (!config.file.empty()) {
            for (const char* flag : {"healthz-port", "metrics-port"}) {
                if (given(flag)) overruled += fmt::format("{}--{}", overruled.empty() ? "" : ", ", flag);
            }
        } else if (config.kube_proxy.mode == "nftables") {
            // kube-proxy's flags of that name serve both modes.
            KubeProxyConfig& kp = config.kube_proxy;
            kp.nftables.masquerade_all = kp.iptables.masquerade_all;
            kp.nftables.sync_period = kp.iptables.sync_period;
            kp.nftables.min_sync_period = kp.iptables.min_sync_period;
        }
        if (!overruled.empty()) {
            config.notes.push_back(fmt::format("overruled by --config {}: {}", config.file, overruled));
        }
        for (const Field& field : own_fields(&config.own)) {
            if (given(field.flag)) SLUICE_TRY(take(field));
        }
        if (given("log-level") && given("v")) {
            return make_error(Code::kInvalidArgument, "--log-level and --v say the same: give one of them");
        }
        return {};
    }

    Result<void> take_node_name() {
        if (!given("node-name")) return {};
        std::string& name = command_.config.kube_proxy.hostname_override;
        if (given("hostname-override") && name != text("node-name")) {
            return make_error(Code::kInvalidArgument,
                              "--node-name {} and --hostname-override {} name two nodes",
                              text("node-name"), name);
        }
        name = text("node-name");
        return {};
    }

    Result<void> take_ports() {
        const auto port = [&](const char* flag, std::uint16_t fallback, std::string* address) -> Result<void> {
            std::uint32_t number = fallback;
            if (given(flag)) {
                if (auto read = from_text(text(flag), &number); !read || number > 65'535) {
                    return make_error(Code::kInvalidArgument, "--{}: \"{}\" is no port", flag, text(flag));
                }
            }
            if (number == 0) address->clear();
            *address = append_port(*address, static_cast<std::uint16_t>(number));
            return {};
        };
        SLUICE_TRY(port("healthz-port", kHealthPort, &command_.config.kube_proxy.healthz_bind_address));
        return port("metrics-port", kMetricsPort, &command_.config.kube_proxy.metrics_bind_address);
    }

    Result<bool> is_on(const char* flag) const {
        if (!given(flag)) return false;
        bool on = true;
        const std::string value = text(flag);
        if (value.empty()) return on;
        if (auto read = from_text(value, &on); !read) {
            return read.error().with_context("--" + std::string(flag));
        }
        return on;
    }

    Result<void> choose_kind() {
        SLUICE_TRY_ASSIGN(const bool ours, is_on("cleanup"));
        SLUICE_TRY_ASSIGN(const bool theirs, is_on("cleanup-kube-proxy"));
        command_.write_to = text("write-config-to");
        if (int{ours} + int{theirs} + int{!command_.write_to.empty()} > 1) {
            return make_error(Code::kInvalidArgument,
                              "--cleanup, --cleanup-kube-proxy and --write-config-to exclude each other");
        }
        if (ours) command_.kind = Command::Kind::kCleanup;
        if (theirs) command_.kind = Command::Kind::kCleanupKubeProxy;
        if (!command_.write_to.empty()) command_.kind = Command::Kind::kWriteConfig;
        return {};
    }

    CLI::App app_;
    std::vector<Declared> declared_;
    std::map<std::string, CLI::Option*, std::less<>> options_;
    Command command_;
};

}  // namespace

Result<Command> parse_command_line(const std::vector<std::string>& arguments, const ReadFile& read_file) {
    CommandLine line;
    return line.parse(arguments, read_file);
}

std::vector<std::string> flag_names() { return CommandLine().names(); }

}  // namespace sluice::config
