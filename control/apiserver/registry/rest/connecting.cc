#include "control/apiserver/registry/rest/connecting.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <string>
#include <utility>

#include "control/apiserver/registry/rest/admission.h"
#include "control/apiserver/registry/rest/busy.h"
#include "control/apiserver/registry/rest/listing.h"
#include "control/apiserver/registry/validation/field_errors.h"
#include "control/http/status_body.h"

namespace sluice::registry {

namespace {

// What the options say of the connection.
enum class Asks : std::uint8_t { kStreams, kPorts, kPath };

struct ConnectKind {
    std::string_view resource;
    std::string_view subresource;
    const char* kind;
    Asks asks;
};
constexpr std::array<ConnectKind, 6> kConnectKinds = {{
    {"pods", "attach", "PodAttachOptions", Asks::kStreams},
    {"pods", "exec", "PodExecOptions", Asks::kStreams},
    {"pods", "portforward", "PodPortForwardOptions", Asks::kPorts},
    {"pods", "proxy", "PodProxyOptions", Asks::kPath},
    {"services", "proxy", "ServiceProxyOptions", Asks::kPath},
    {"nodes", "proxy", "NodeProxyOptions", Asks::kPath},
}};

const ConnectKind* connect_kind(const ResourcePath& path) {
    for (const ConnectKind& one : kConnectKinds) {
        if (one.resource == path.resource && one.subresource == path.subresource) return &one;
    }
    return nullptr;
}

// Behind /api/v1/namespaces/NAMESPACE/pods/NAME/SUBRESOURCE, or /api/v1/nodes/NAME/SUBRESOURCE, comes the path that the
// Pod, Service or node is asked for. By their places: any of the names may be "proxy".
std::size_t end_of_resource(std::string_view path) {
    constexpr std::size_t kNamespaced = 7;
    constexpr std::size_t kOfCluster = 5;
    const std::size_t wanted = path.starts_with("/api/v1/namespaces/") ? kNamespaced : kOfCluster;
    std::size_t at = 0;
    for (std::size_t parts = 0; parts < wanted; ++parts) {
        at = path.find('/', at + 1);
        if (at == std::string_view::npos) return path.size();
    }
    return at;
}

void add_member(std::string_view member, const std::string& items, std::string* out) {
    if (!items.empty()) *out += ",\"" + std::string(member) + "\":[" + items + "]";
}

void add_commands(const http::Request& request, std::string* out) {
    std::string items;
    for (const auto& [name, value] : request.query) {
        if (name == "command") items += (items.empty() ? "" : ",") + http::json_quote(value);
    }
    add_member("command", items, out);
}

// ports=80,81&ports=82, which Kubernetes reads as numbers of 16 bits with a sign. 400: one of them is none.
Answer<void> add_ports(const http::Request& request, std::string* out) {
    std::string items;
    for (const auto& [name, value] : request.query) {
        if (name != "ports") continue;
        for (std::string_view rest = value;;) {
            const std::string_view text = rest.substr(0, rest.find(','));
            std::int16_t port = 0;
            const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
            const bool whole = end == text.data() + text.size();
            if (error != std::errc() || !whole) {
                const bool large = error == std::errc::result_out_of_range && whole;
                return refuse(bad_request(fmt::format("strconv.ParseInt: parsing {}: {}", go_quote(text),
                                                      large ? "value out of range" : "invalid syntax")));
            }
            items += (items.empty() ? "" : ",") + std::to_string(port);
            if (text.size() == rest.size()) break;
            rest.remove_prefix(text.size() + 1);
        }
    }
    add_member("ports", items, out);
    return {};
}

// The query as Kubernetes decodes it: fields that are false or empty are left out. rest: the path behind the resource.
// 400: it cannot be decoded.
Answer<std::string> options_json(const ConnectKind& kind, const http::Request& request, const std::string& rest) {
    std::string out = "{\"kind\":\"" + std::string(kind.kind) + "\",\"apiVersion\":\"v1\"";
    if (kind.asks == Asks::kPath) {
        if (!rest.empty()) out += ",\"path\":" + http::json_quote(rest);
    } else if (kind.asks == Asks::kStreams) {
        for (const char* name : {"stdin", "stdout", "stderr", "tty"}) {
            if (query_flag(request, name)) out += ",\"" + std::string(name) + "\":true";
        }
        const auto container = request.parameter("container").value_or("");
        if (!container.empty()) {
            out += ",\"container\":" + http::json_quote(container);
        }
        add_commands(request, &out);
    } else if (auto ok = add_ports(request, &out); !ok) {
        return refuse(std::move(ok).error());
    }
    return out + "}";
}

}  // namespace

void run_where_admission_waits(const Admission& admission, const CallPtr& call, std::function<void()> task) {
    const auto busy = std::make_shared<Busy>(*call->core);
    if (admission.run(while_busy(busy, std::move(task)))) return;
    call->respond(too_many_requests("too many requests wait for their admission"));
}

void ask_about_connection(Core& core, std::shared_ptr<const http::Request> request,
                          std::shared_ptr<http::Responder> responder, std::function<void()> go_on) {
    const Admission* admission = core.admission.load();
    const std::size_t end = end_of_resource(request->path);
    const auto path = parse_resource_path(std::string_view(request->path).substr(0, end));
    const ConnectKind* kind = path ? connect_kind(*path) : nullptr;
    if (core.stopping) {
        return respond_error(*responder, unavailable("the server is shutting down"), Encoding::kJson);
    }
    // A log is read, and nobody is asked about that.
    if (path && path->resource == "pods" && path->subresource == "log") return go_on();
    // What nobody knows how to ask about is not done unasked.
    if (kind == nullptr) return respond_error(*responder, bad_request("the path names no connection"), Encoding::kJson);
    const codec::KindInfo& object = kind_named("", "v1", kind->resource);
    if (admission == nullptr || !admission->blocks(object)) return go_on();
    const auto call = std::make_shared<Call>();
    call->core = &core;
    call->strategy = &core.strategies.of(object);
    call->info.kind = &object;
    call->info.verb = Verb::kCreate;
    call->info.name_space = path->name_space;
    call->info.name = path->name;
    call->info.subresource = path->subresource;
    call->request = std::move(request);
    call->responder = std::move(responder);
    auto ask = [call, kind, admission, end, go_on = std::move(go_on)] {
        auto json = options_json(*kind, *call->request, call->request->path.substr(end));
        if (!json) return call->respond(std::move(json).error());
        const ConnectOptions options{{"", "v1", kind->kind}, std::move(*json)};
        const AdmissionRequest asked{
            .user = call->request->identity,
            .operation = Operation::kConnect,
            .verb = call->info.verb,
            .kind = *call->info.kind,
            .subresource = call->info.subresource,
            .name_space = call->info.name_space,
            .name = call->info.name,
            .call = *call,
            .connect = &options,
        };
        Answer<void> ok = admission->mutate_last(asked, nullptr, {});
        if (ok) ok = admission->consult(asked);
        if (!ok) return call->respond(std::move(ok).error());
        go_on();
    };
    run_where_admission_waits(*admission, call, std::move(ask));
}

}  // namespace sluice::registry
