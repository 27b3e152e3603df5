// See watch.h.
#include "agent/cli/watch.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <functional>
#include <thread>

#include "dataplane/dpdk/client/follow.h"
#include "dataplane/ebpf/inspect.h"
#include "dataplane/ebpf/inspect_events.h"

namespace sluice::cli {
namespace {

using dataplane::EventFollower;
using dataplane::EventView;
using std::chrono::steady_clock;

// A follower's names are looked up in an image that is opened anew so often, for the agent may replace it.
constexpr std::chrono::seconds kReopenEvery{2};
constexpr std::chrono::milliseconds kPoll{200};

volatile std::sig_atomic_t stopping = 0;

void stop(int /*signal*/) {
    stopping = 1;
}

void stop_on_signals() {
    struct sigaction action {};
    action.sa_handler = stop;
    sigaction(SIGINT, &action, nullptr);
    sigaction(SIGTERM, &action, nullptr);
    // Whoever reads may go away: the next write fails then, and the log is turned off.
    action.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &action, nullptr);
}

// False when nobody reads any more.
bool put(const std::string& text) {
    return std::fputs(text.c_str(), stdout) >= 0 && std::fflush(stdout) == 0;
}

// The time of the day at which an event of the monotonic clock happened.
std::string time_of(std::uint64_t event_ns) {
    constexpr std::uint64_t kNsPerSecond = 1000000000;
    const auto read = [](clockid_t clock) {
        timespec now{};
        clock_gettime(clock, &now);
        return static_cast<std::uint64_t>(now.tv_sec) * kNsPerSecond +
               static_cast<std::uint64_t>(now.tv_nsec);
    };
    const std::uint64_t wall = read(CLOCK_REALTIME) - read(CLOCK_MONOTONIC) + event_ns;
    const auto seconds = static_cast<std::time_t>(wall / kNsPerSecond);
    std::tm day{};
    gmtime_r(&seconds, &day);
    return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:06d}Z", day, wall % kNsPerSecond / 1000);
}

using Keep = std::function<bool(const EventView&, const std::string& service)>;

// Shows events that `keep` wants until a signal.
Result<void> follow(const TableSource& source, Format format, const dataplane::FollowOptions& wanted,
                    const Keep& keep) {
    stop_on_signals();
    SLUICE_TRY_ASSIGN(auto follower, source.is_dpdk() ? dpdk::follow_shared_events(source.state_directory, wanted)
                                                      : EventFollower::open(source.bpffs, wanted));
    SLUICE_TRY_ASSIGN(auto inspector, source.open());
    auto opened = steady_clock::now();
    std::uint64_t lost_told = 0;
    bool reading = true;
    while (stopping == 0 && reading) {
        const auto show = [&](const EventView& event) {
            EventLine line;
            line.event = event;
            if (event.has_service) line.service = inspector->service_name(event.service_index);
            if (event.kind == "opened") line.target = inspector->backend_target(event.backend_index);
            if (!reading || !keep(event, line.service)) return;
            line.time = time_of(event.time_ns);
            reading = put(render_event(line, format));
        };
        SLUICE_TRY(follower->poll(kPoll, show));
        if (const std::uint64_t lost = follower->lost(); lost != lost_told) {
            std::fprintf(stderr, "sluice: %llu events lost, they came faster than they were read; "
                                 "--sample N takes one of N\n",
                         static_cast<unsigned long long>(lost - lost_told));
            lost_told = lost;
        }
        if (steady_clock::now() - opened < kReopenEvery) continue;
        // While an agent starts or cleans up there may be none; the names known so far serve on.
        if (auto again = source.open()) inspector = std::move(*again);
        opened = steady_clock::now();
    }
    return {};
}

bool names(const std::string& wanted, const std::string& service) {
    return wanted.empty() || service == wanted || service.starts_with(wanted + ":");
}

Result<std::optional<IpAddress>> address_option(const char* option, const std::string& text) {
    if (text.empty()) return std::optional<IpAddress>();
    const auto address = IpAddress::parse(text);
    if (!address) {
        return make_error(Code::kInvalidArgument, "{}: \"{}\" is not an IP address", option, text);
    }
    return std::optional<IpAddress>(*address);
}

// Lines of the terminal, or 0 if there is none.
std::size_t terminal_lines() {
    winsize size{};
    if (isatty(STDOUT_FILENO) == 0 || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0) return 0;
    return size.ws_row;
}

std::string first_lines(const std::string& text, std::size_t count) {
    std::size_t end = 0;
    for (std::size_t i = 0; i < count && end != std::string::npos; ++i) {
        end = text.find('\n', end);
        if (end != std::string::npos) ++end;
    }
    return end == std::string::npos ? text : text.substr(0, end);
}

}  // namespace

Result<TopOrder> parse_order(const std::string& text) {
    if (text == "packets") return TopOrder::kPackets;
    if (text == "bytes") return TopOrder::kBytes;
    if (text == "connections") return TopOrder::kConnections;
    if (text == "flows") return TopOrder::kFlows;
    return make_error(Code::kInvalidArgument,
                      "--by: \"{}\" is none of packets, bytes, connections, flows", text);
}

Result<void> show_flows(const FlowOptions& options) {
    dataplane::FlowFilter filter;
    filter.service = options.service;
    filter.state = options.state;
    filter.limit = options.limit;
    SLUICE_TRY_ASSIGN(filter.backend, address_option("--backend", options.backend));
    SLUICE_TRY_ASSIGN(filter.client, address_option("--client", options.client));
    if (options.follow) {
        if (!options.state.empty()) {
            return make_error(Code::kInvalidArgument,
                              "--state selects among flows that exist; --follow shows new ones");
        }
        return follow(options.source, options.format, {true, true, true, options.sample},
                      [&](const EventView& event, const std::string& service) {
                          return names(options.service, service) &&
                                 (!filter.backend || *filter.backend == event.backend) &&
                                 (!filter.client || *filter.client == event.client);
                      });
    }
    SLUICE_TRY_ASSIGN(const auto inspector, options.source.open());
    SLUICE_TRY_ASSIGN(const auto list, inspector->flows(filter));
    put(render_flows(list, options.format));
    return {};
}

Result<void> show_top(const TopOptions& options) {
    stop_on_signals();
    SLUICE_TRY_ASSIGN(auto inspector, options.source.open());
    SLUICE_TRY_ASSIGN(auto before, inspector->traffic());
    auto read_at = steady_clock::now();
    const std::chrono::duration<double> interval(options.interval_s);
    while (stopping == 0) {
        const auto due = read_at + std::chrono::duration_cast<steady_clock::duration>(interval);
        while (stopping == 0 && steady_clock::now() < due) {
            std::this_thread::sleep_for(
                std::min<steady_clock::duration>(kPoll, due - steady_clock::now()));
        }
        if (stopping != 0) break;
        // The agent may have replaced the image meanwhile.
        SLUICE_TRY_ASSIGN(inspector, options.source.open());
        SLUICE_TRY_ASSIGN(auto after, inspector->traffic());
        const auto now = steady_clock::now();
        const auto rows = compute_top(before, after, now - read_at, options.order, options.count);
        std::string text = render_top(rows, after, options.backends, options.format);
        if (const std::size_t lines = terminal_lines(); !options.once && lines > 1) {
            // From the top left corner, and nothing below what is written.
            text = "\033[H\033[2J" + first_lines(text, lines - 1);
        }
        if (!put(text) || options.once) break;
        before = std::move(after);
        read_at = now;
    }
    return {};
}

Result<void> show_drops(const DropOptions& options) {
    if (options.follow) {
        return follow(options.source, options.format, {false, true, true, options.sample},
                      [](const EventView&, const std::string&) { return true; });
    }
    SLUICE_TRY_ASSIGN(const auto inspector, options.source.open());
    SLUICE_TRY_ASSIGN(const auto drops, inspector->drops());
    std::string text = render_drops(drops, options.format);
    if (options.format == Format::kTable) {
        SLUICE_TRY_ASSIGN(const auto report, inspector->traffic());
        const std::string refused = render_refused(report.services);
        if (!refused.empty()) text += fmt::format("\n{}", refused);
    }
    put(text);
    return {};
}

}  // namespace sluice::cli
