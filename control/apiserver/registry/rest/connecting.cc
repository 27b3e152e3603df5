#include "control/apiserver/registry/rest/connecting.h"

#include <array>
#include <utility>

#include "control/apiserver/registry/rest/admission.h"
#include "control/apiserver/registry/rest/busy.h"
#include "control/apiserver/registry/rest/listing.h"
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

// Behind "/proxy" comes the path that the Pod, Service or node is asked for.
std::size_t end_of_resource(std::string_view path) {
    constexpr std::string_view kProxy = "/proxy/";
    const std::size_t at = path.find(kProxy);
    return at == std::string_view::npos ? path.size() : at + kProxy.size() - 1;
}

void add_list(const http::Request& request, std::string_view parameter, std::string_view member, bool quoted,
              std::string* out) {
    std::string items;
    for (const auto& [name, value] : request.query) {
        if (name != parameter) continue;
        if (!quoted && value.find_first_not_of("0123456789,") != std::string::npos) continue;
        if (!items.empty()) items += ',';
        if (quoted) {
            items += http::json_quote(value);
        } else {
            items += value;
        }
    }
    if (items.empty()) return;
    *out += ",\"" + std::string(member) + "\":[" + items + "]";
}

// The query as Kubernetes decodes it: fields that are false or empty are left out.
std::string options_json(const ConnectKind& kind, const http::Request& request) {
    std::string out = "{\"kind\":\"" + std::string(kind.kind) + "\",\"apiVersion\":\"v1\"";
    if (kind.asks == Asks::kPath) {
        const std::string path = request.path.substr(end_of_resource(request.path));
        if (!path.empty()) out += ",\"path\":" + http::json_quote(path);
    } else if (kind.asks == Asks::kStreams) {
        for (const char* name : {"stdin", "stdout", "stderr", "tty"}) {
            if (query_flag(request, name)) out += ",\"" + std::string(name) + "\":true";
        }
        const auto container = request.parameter("container").value_or("");
        if (!container.empty()) {
            out += ",\"container\":" + http::json_quote(container);
        }
        add_list(request, "command", "command", true, &out);
    } else {
        add_list(request, "ports", "ports", false, &out);
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
    const auto path = parse_resource_path(std::string_view(request->path).substr(0, end_of_resource(request->path)));
    const ConnectKind* kind = path ? connect_kind(*path) : nullptr;
    if (admission == nullptr || !admission->blocks() || kind == nullptr || core.stopping) return go_on();
    const auto call = std::make_shared<Call>();
    call->core = &core;
    const codec::KindInfo& object = kind_named("", "v1", kind->resource);
    call->strategy = &core.strategies.of(object);
    call->info.kind = &object;
    call->info.verb = Verb::kCreate;
    call->info.name_space = path->name_space;
    call->info.name = path->name;
    call->info.subresource = path->subresource;
    call->request = std::move(request);
    call->responder = std::move(responder);
    auto ask = [call, kind, admission, go_on = std::move(go_on)] {
        const ConnectOptions options{{"", "v1", kind->kind}, options_json(*kind, *call->request)};
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
