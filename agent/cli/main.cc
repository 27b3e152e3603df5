// sluice: the person's tool. Reads pinned tables or shared memory, so it works with the agent stopped too.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>

#include "agent/cli/arguments.h"
#include "agent/cli/engine_commands.h"
#include "agent/cli/join.h"
#include "agent/cli/render.h"
#include "agent/cli/scripts.h"
#include "agent/cli/tables.h"
#include "agent/cli/watch.h"
#include "api/base/log.h"
#include "dataplane/ebpf/inspect.h"

namespace {

using namespace sluice;  // NOLINT: one program, one file

constexpr int kExitFailure = 1;
constexpr int kExitUsage = 2;

struct Flags {
    cli::TableSource tables;
    std::string output = "table";
    std::string log_level = "info";
    std::string service;
    std::string source;
    std::string destination;
    std::string protocol = "tcp";
    std::string origin;
    bool from_outside = false;
    std::uint16_t source_port = 0;
};

cli::Format format_of(const Flags& flags) {
    return flags.output == "json" ? cli::Format::kJson : cli::Format::kTable;
}

// The Service of a service port: "default/web:http" belongs to "default/web".
bool belongs_to(const std::string& port_name, const std::string& service) {
    return port_name == service || port_name.starts_with(service + ":");
}

Result<std::string> get_service(const dataplane::Inspector& inspector, const Flags& flags) {
    SLUICE_TRY_ASSIGN(auto services, inspector.services());
    std::erase_if(services, [&](const dataplane::ServiceView& view) {
        return !belongs_to(view.name, flags.service);
    });
    if (services.empty()) {
        return make_error(Code::kNotFound,
                          "service {} is not in the tables; `sluice service list` shows those that are",
                          flags.service);
    }
    return cli::render_service(services, format_of(flags));
}

Result<std::string> explain(const dataplane::Inspector& inspector, const Flags& flags) {
    SLUICE_TRY_ASSIGN(const auto source, cli::parse_target(flags.source));
    SLUICE_TRY_ASSIGN(const auto destination, cli::parse_target(flags.destination));
    SLUICE_TRY_ASSIGN(const auto protocol, cli::parse_protocol_argument(flags.protocol));
    if (source.address.family() != destination.address.family()) {
        return make_error(Code::kInvalidArgument, "{} and {} are of different families", flags.source,
                          flags.destination);
    }
    dataplane::Question question;
    question.source = source.address;
    question.source_port = flags.source_port != 0 ? flags.source_port : source.port;
    question.destination = destination.address;
    question.destination_port = destination.port;
    question.protocol = protocol;
    SLUICE_TRY_ASSIGN(question.origin,
                      cli::parse_origin(flags.from_outside ? "outside" : flags.origin));
    SLUICE_TRY_ASSIGN(const auto explanation, inspector.explain(question));
    return cli::render_explanation(explanation, format_of(flags));
}

int finish(const Result<std::string>& text) {
    if (!text) {
        std::fprintf(stderr, "sluice: %s\n", text.error().to_string().c_str());
        return text.error().code == Code::kInvalidArgument ? kExitUsage : kExitFailure;
    }
    std::fputs(text->c_str(), stdout);
    return std::fflush(stdout) == 0 ? 0 : kExitFailure;
}

int finish_quietly(const Result<void>& done) {
    return done ? 0 : finish(done.error());
}

template <class Show>
int with_tables(const Flags& flags, const Show& show) {
    const auto inspector = flags.tables.open();
    if (!inspector) return finish(inspector.error());
    return finish(show(**inspector));
}

int run_join(const cli::JoinOptions& options) {
    if (!options.renew && (options.server.empty() || options.token.empty() || options.pin.empty())) {
        return finish(make_error(Code::kInvalidArgument,
                                 "join needs SERVER, --token and --discovery-token-ca-cert-hash, or "
                                 "--renew"));
    }
    const int done = finish(cli::join(options));
    if (done != 0 || !options.start) return done;
    return finish(cli::start_node(options));
}

int run(int argc, char** argv) {
    CLI::App app("sluice: what the Service dataplane of this node does, and why.");
    app.set_version_flag("--version", "sluice " SLUICE_VERSION);
    app.require_subcommand(1);
    Flags flags;
    app.add_option("--engine", flags.tables.engine, "Whose tables: ebpf, dpdk, or auto for whichever has some")
        ->check(CLI::IsMember({"auto", "ebpf", "dpdk"}))->capture_default_str();
    app.add_option("--bpffs", flags.tables.bpffs, "BPF file system that holds sluice/")->capture_default_str();
    app.add_option("--dpdk-state-dir", flags.tables.state_directory, "Directory shared with sluice-dpdk")
        ->capture_default_str();
    app.add_option("--dpdk-socket", flags.tables.socket, "Socket of sluice-dpdk")->capture_default_str();
    app.add_option("-o,--output", flags.output, "table or json")
        ->check(CLI::IsMember({"table", "json"}))->capture_default_str();
    app.add_option("--log-level", flags.log_level, "trace, debug, info, warn, error or off")
        ->check(CLI::IsMember({"trace", "debug", "info", "warn", "error", "off"}))
        ->capture_default_str();
    app.fallthrough();

    auto* status = app.add_subcommand("status", "Size of the tables, node addresses, attached programs");
    auto* service = app.add_subcommand("service", "Services in the tables");
    service->require_subcommand(1)->fallthrough();
    auto* list = service->add_subcommand("list", "All service ports, one a line");
    auto* get = service->add_subcommand("get", "One Service with its frontends, endpoints and counters");
    list->fallthrough();
    get->fallthrough();
    get->add_option("SERVICE", flags.service, "NAMESPACE/NAME")->required();
    auto* explain_command = app.add_subcommand(
        "explain", "What happens to a packet, and why; for example: sluice explain 10.1.0.5 10.96.0.10:80 "
                   "tcp, or sluice explain fd01::5 [fd96::10]:53 udp");
    explain_command->add_option("SRC", flags.source,
                                "Source, ADDRESS or ADDRESS:PORT; with a port its flow is looked up")
        ->required();
    explain_command->add_option("DST", flags.destination, "Destination, ADDRESS:PORT or [IPV6]:PORT")
        ->required();
    explain_command->add_option("PROTO", flags.protocol, "tcp, udp or sctp")->capture_default_str();
    explain_command->add_option("--source-port", flags.source_port, "Source port, apart from SRC");
    auto* origin = explain_command->add_option(
        "--from", flags.origin, "Where the packet comes from: pod, node or outside; else by its source");
    explain_command->add_flag("--from-outside", flags.from_outside, "The same as --from outside")
        ->excludes(origin);
    cli::FlowOptions flow_options;
    auto* flows = app.add_subcommand(
        "flows", "Flows of the packet path; connections translated at their socket have none");
    flows->add_option("--service", flow_options.service, "NAMESPACE/NAME, or NAMESPACE/NAME:PORT");
    flows->add_option("--backend", flow_options.backend, "Address of an endpoint");
    flows->add_option("--client", flow_options.client, "Address of a client");
    flows->add_option("--state", flow_options.state, "new, answered, established, closing or closed")
        ->check(CLI::IsMember({"new", "answered", "established", "closing", "closed"}));
    flows->add_option("--limit", flow_options.limit, "Most flows to show")->capture_default_str();
    auto* flows_follow = flows->add_flag(
        "--follow", flow_options.follow, "Show new flows, refusals and drops as they happen, hooks' too");
    flows->add_option("--sample", flow_options.sample, "With --follow: one event of N, by chance")
        ->check(CLI::PositiveNumber)->needs(flows_follow)->capture_default_str();
    cli::TopOptions top_options;
    std::string order = "packets";
    auto* top = app.add_subcommand("top", "Busiest services and endpoints; redraws until interrupted");
    top->add_option("-n,--count", top_options.count, "Services to show, 0 for all")->capture_default_str();
    top->add_option("--by", order, "packets, bytes, connections or flows")->capture_default_str();
    top->add_option("--interval", top_options.interval_s, "Seconds between two readings")
        ->check(CLI::Range(0.1, 3600.0))->capture_default_str();
    top->add_flag("--once", top_options.once, "Show one interval and end");
    top->add_flag("--backends", top_options.backends, "Endpoints of each service too");
    cli::DropOptions drop_options;
    auto* drops = app.add_subcommand("drops", "Packets and connections not forwarded, by reason");
    auto* drops_follow =
        drops->add_flag("--follow", drop_options.follow, "Show each as it happens");
    drops->add_option("--sample", drop_options.sample, "With --follow: one event of N, by chance")
        ->check(CLI::PositiveNumber)->needs(drops_follow)->capture_default_str();
    cli::CaptureCommand capturing;
    auto* capture = app.add_subcommand(
        "capture", "Copy packets of a DPDK engine into a pcapng file, as they come in and go out");
    capture->add_option("FILE", capturing.file, "File to write; must not exist")->required();
    capture->add_option("--source", capturing.source, "ADDRESS, or ADDRESS:PORT; any by default");
    capture->add_option("--destination", capturing.destination, "ADDRESS, or ADDRESS:PORT; any by default");
    capture->add_option("--protocol", capturing.protocol, "tcp, udp, sctp, icmp or icmpv6; any by default");
    capture->add_option("--packets", capturing.packets, "Most packets")
        ->check(CLI::PositiveNumber)->capture_default_str();
    capture->add_option("--seconds", capturing.seconds, "Longest time")
        ->check(CLI::PositiveNumber)->capture_default_str();
    capture->add_option("--snap-length", capturing.snap_length, "Bytes of a packet")
        ->check(CLI::PositiveNumber)->capture_default_str();
    cli::DrainCommand draining;
    auto* drain = app.add_subcommand(
        "drain", "Refuse new flows of a DPDK engine and wait until none is in use");
    drain->add_option("--idle", draining.idle_s, "Seconds without a packet after which a flow is over")
        ->check(CLI::PositiveNumber)->capture_default_str();
    drain->add_option("--timeout", draining.timeout_s, "Seconds to wait")
        ->check(CLI::PositiveNumber)->capture_default_str();
    drain->add_flag("--undo", draining.undo, "Take new flows again");
    cli::JoinOptions joining;
    bool no_start = false;
    auto* join = app.add_subcommand(
        "join", "Make this machine a node of a cluster; `sluice-control token create` prints how");
    join->add_option("SERVER", joining.server, "Address of the API server, HOST:PORT");
    join->add_option("--token", joining.token, "Bootstrap token, ID.SECRET");
    join->add_option("--discovery-token-ca-cert-hash", joining.pin,
                     "Pin of the cluster's authority, sha256:HEX");
    join->add_option("--node-name", joining.node_name, "Name of the node; the host's by default");
    join->add_option("--node-ip", joining.node_ip,
                     "Address of the node; the one that reaches the server by default");
    join->add_option("--data-dir", joining.data_dir, "Where keys and certificates are kept")
        ->capture_default_str();
    join->add_flag("--no-start", no_start, "Only make the files, do not start the node");
    join->add_flag("--renew", joining.renew,
                   "Only renew certificates near their end; harmless to repeat");
    auto* up = app.add_subcommand("up", "Start a cluster of one node on this machine: scripts/up, with its "
                                        "arguments");
    auto* down = app.add_subcommand("down", "Stop this machine's node and remove all of it: scripts/down");
    for (auto* command : {up, down}) {
        // Whatever follows, --help too, is the script's to read.
        command->fallthrough(false)->allow_extras()->prefix_command();
        command->set_help_flag();
    }
    auto* version = app.add_subcommand("version", "The version of this program");
    for (auto* command : {status, explain_command, flows, top, drops, capture, drain, join, version}) {
        command->fallthrough();
    }
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : kExitUsage;
    }
    if (const auto level = log::parse_level(flags.log_level)) log::set_level(*level);
    const cli::Format format = format_of(flags);
    if (version->parsed()) {
        return finish(std::string(format == cli::Format::kJson
                                      ? "{\"version\":\"" SLUICE_VERSION "\"}\n"
                                      : "sluice " SLUICE_VERSION "\n"));
    }
    if (up->parsed()) return finish(cli::run_script("up", up->remaining()));
    if (down->parsed()) return finish(cli::run_script("down", down->remaining()));
    if (join->parsed()) {
        joining.start = !no_start && !joining.renew;
        return run_join(joining);
    }
    if (capture->parsed()) {
        capturing.socket = flags.tables.socket;
        capturing.format = format;
        return finish(cli::capture(capturing));
    }
    if (drain->parsed()) {
        draining.socket = flags.tables.socket;
        return finish(cli::drain(draining));
    }
    if (flows->parsed()) {
        flow_options.source = flags.tables;
        flow_options.format = format;
        return finish_quietly(cli::show_flows(flow_options));
    }
    if (top->parsed()) {
        const auto parsed = cli::parse_order(order);
        if (!parsed) return finish(parsed.error());
        top_options.order = *parsed;
        top_options.source = flags.tables;
        top_options.format = format;
        return finish_quietly(cli::show_top(top_options));
    }
    if (drops->parsed()) {
        drop_options.source = flags.tables;
        drop_options.format = format;
        return finish_quietly(cli::show_drops(drop_options));
    }
    return with_tables(flags, [&](const dataplane::Inspector& inspector) -> Result<std::string> {
        if (status->parsed()) {
            SLUICE_TRY_ASSIGN(const auto view, inspector.status());
            return flags.tables.is_dpdk() ? cli::engine_status(flags.tables.socket, view, format)
                                          : cli::render_status(view, format);
        }
        if (list->parsed()) {
            SLUICE_TRY_ASSIGN(const auto views, inspector.services());
            return cli::render_services(views, format);
        }
        if (get->parsed()) return get_service(inspector, flags);
        return explain(inspector, flags);
    });
}

}  // namespace

int main(int argc, char** argv) {
    try {
        return run(argc, argv);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "sluice: %s\n", error.what());
        return kExitFailure;
    }
}
