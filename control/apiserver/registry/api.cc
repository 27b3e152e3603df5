#include "control/apiserver/registry/api.h"

#include <fmt/format.h>

#include <algorithm>
#include <random>

#include "api/base/log.h"
#include "api/kubernetes/core/v1/service.pb.h"
#include "control/apiserver/registry/allocator/claims.h"
#include "control/apiserver/registry/allocator/service_allocator.h"
#include "control/apiserver/registry/bootstrap.h"
#include "control/apiserver/registry/custom/custom_kind.h"
#include "control/apiserver/registry/custom/definitions.h"
#include "control/apiserver/registry/custom/versions/hooks.h"
#include "control/apiserver/registry/event_expiry/event_expiry.h"
#include "control/apiserver/registry/ip_addresses/ip_addresses.h"
#include "control/apiserver/registry/namespace_deletion/namespace_deletion.h"
#include "control/apiserver/registry/observe/amend.h"
#include "control/apiserver/registry/observe/observation.h"
#include "control/apiserver/registry/quota/keeper.h"
#include "control/apiserver/registry/rest/admission.h"
#include "control/apiserver/registry/rest/connecting.h"
#include "control/apiserver/registry/rest/core.h"
#include "control/apiserver/registry/rest/posting.h"
#include "control/apiserver/registry/rest/verbs.h"

namespace sluice::registry {

namespace {

constexpr std::string_view kComponent = "registry";

RowObject row_object(const http::Request& request) {
    const auto wanted = request.parameter("includeObject").value_or("");
    if (wanted == "Object") return RowObject::kFull;
    if (wanted == "None") return RowObject::kNone;
    return RowObject::kMetadata;
}

bool is_read(Verb verb) {
    return verb == Verb::kGet || verb == Verb::kList || verb == Verb::kWatch;
}

// Lists and watches may touch thousands of objects, so they leave the connection's thread alone; where a webhook
// converts them, the call is on a thread that may wait already.
void aside(const CallPtr& call, void (*serve)(const CallPtr&)) {
    if (converter_of(call->strategy->kind()) != nullptr) return serve(call);
    call->core->executor.post([call, serve] { serve(call); });
}

void dispatch(const CallPtr& call) {
    if (call->info.subresource == "scale") return serve_scale(call);
    if (call->info.subresource == "binding") return serve_binding(call);
    if (call->info.subresource == "eviction") return serve_eviction(call);
    switch (call->info.verb) {
        case Verb::kGet: return serve_get(call);
        case Verb::kCreate: return serve_create(call);
        case Verb::kUpdate: return serve_update(call);
        case Verb::kPatch: return serve_patch(call);
        case Verb::kDelete: return serve_delete(call);
        case Verb::kList: return aside(call, serve_list);
        case Verb::kWatch: return aside(call, serve_watch);
        case Verb::kDeleteCollection: return aside(call, serve_delete_collection);
    }
}

class ApiImpl final : public Api {
public:
    ApiImpl(store::Store& store, const ApiOptions& options)
        : allocator_(options.service_cidrs, options.nodeport_min, options.nodeport_max,
                     std::random_device{}(), store.shared() ? &store : nullptr),
          strategies_(allocator_, options),
          core_(store, strategies_) {}
    ~ApiImpl() override {
        ApiImpl::shutdown();
        core_.wait_until_idle();
    }

    Result<void> start(const ApiOptions& options);
    [[nodiscard]] bool handles(const std::string& path) const override;
    void handle(std::shared_ptr<const http::Request> request,
                std::shared_ptr<http::Responder> responder) override;
    [[nodiscard]] Result<std::shared_ptr<const Message>> read(const codec::KindInfo& kind,
                                                              const std::string& name_space,
                                                              const std::string& name) override;
    Result<std::unique_ptr<Observation>> observe(const codec::KindInfo& kind, bool hold,
                                                 Observer observer) override;
    void amend(const codec::KindInfo& kind, const std::string& name_space, const std::string& name,
               Amend change, std::function<void(Result<void>)> done, bool status) override {
        amend_object(core_, kind, name_space, name, std::move(change), std::move(done), status);
    }
    void on_custom_kinds(CustomListener listener) override;
    void set_admission(const Admission* admission) override { core_.admission = admission; }
    void admit_connection(std::shared_ptr<const http::Request> request,
                          std::shared_ptr<http::Responder> responder, std::function<void()> go_on) override {
        ask_about_connection(core_, std::move(request), std::move(responder), std::move(go_on));
    }
    void admit_posted(std::shared_ptr<const http::Request> request, std::shared_ptr<http::Responder> responder,
                      Posted posted, AnswerPosted answer) override {
        ask_about_posted(core_, std::move(request), std::move(responder), std::move(posted), std::move(answer));
    }
    [[nodiscard]] ApiFigures figures() const override;
    [[nodiscard]] std::string metrics() const override {
        const ConversionHooks* hooks = core_.custom->hooks();
        return hooks == nullptr ? std::string() : hooks->metrics();
    }
    void shutdown() override;

private:
    Result<void> adopt_services();

    ServiceAllocator allocator_;
    StrategySet strategies_;
    Core core_;
    std::unique_ptr<Definitions> definitions_;
    std::unique_ptr<NamespaceDeletion> namespace_deletion_;
    std::unique_ptr<EventExpiry> event_expiry_;
    std::unique_ptr<IpAddresses> ip_addresses_;
    std::unique_ptr<QuotaKeeper> quotas_;
};

Result<void> ApiImpl::adopt_services() {
    if (core_.store.shared()) {
        SLUICE_TRY_ASSIGN(const std::uint64_t repaired, repair_claims(core_));
        core_.repaired_claims += repaired;
        if (repaired > 0) {
            log::info(kComponent, "{} claims of addresses and node ports were brought into line with the Services",
                      repaired);
        }
        return {};
    }
    const Strategy& services = strategies_.of(*codec::find_resource("", "v1", "services"));
    SLUICE_TRY_ASSIGN(auto range, core_.store.range(services.storage_prefix() + "/", "", 0));
    for (const store::KeyValue& item : range.items) {
        auto object = core_.cache.get(services.kind(), item.mod_revision, *item.value);
        if (!object) {
            return make_error(Code::kDataLoss, "{}: {}", item.key, object.error().message);
        }
        const auto adopted =
            allocator_.adopt(static_cast<const ServiceMessage&>((*object)->message()));
        if (!adopted) log::warn(kComponent, "{}", adopted.error().message);
    }
    return {};
}

Result<void> ApiImpl::start(const ApiOptions& options) {
    SLUICE_TRY(adopt_services());
    SLUICE_TRY(bootstrap(core_, options));
    SLUICE_TRY_ASSIGN(definitions_, start_definitions(core_, *core_.custom));
    SLUICE_TRY_ASSIGN(namespace_deletion_, start_namespace_deletion(core_));
    event_expiry_ = start_event_expiry(core_, options.event_ttl_s);
    SLUICE_TRY_ASSIGN(ip_addresses_, start_ip_addresses(core_));
    SLUICE_TRY_ASSIGN(quotas_, start_quotas(core_));
    return {};
}

bool ApiImpl::handles(const std::string& path) const {
    const auto parsed = parse_resource_path(path);
    if (!parsed) return false;
    if (core_.custom->serves(parsed->group, parsed->version)) return true;
    const auto kinds = codec::all_kinds();
    return std::any_of(kinds.begin(), kinds.end(), [&parsed](const codec::KindInfo& kind) {
        return kind.gvk.group == parsed->group && kind.gvk.version == parsed->version;
    });
}

void ApiImpl::handle(std::shared_ptr<const http::Request> request,
                     std::shared_ptr<http::Responder> responder) {
    if (core_.stopping) {
        return respond_error(*responder, unavailable("the server is shutting down"),
                             Encoding::kJson);
    }
    const auto path = parse_resource_path(request->path);
    if (!path) return respond_error(*responder, resource_not_found(), Encoding::kJson);
    const auto custom = core_.custom->find(path->group, path->version, path->resource);
    auto info = resolve_request(*path, request->method, query_flag(*request, "watch"),
                                custom == nullptr ? nullptr : &custom->kind());
    const std::string_view accept = request->header("accept");
    auto format = custom == nullptr
                      ? negotiate_output(accept, info ? is_read(info->verb) : true)
                      : negotiate_custom_output(accept, info ? is_read(info->verb) : true);
    const Encoding encoding = format ? format->encoding : Encoding::kJson;
    if (!info) return respond_error(*responder, info.error(), encoding);
    if (!format) return respond_error(*responder, format.error(), Encoding::kJson);
    const auto call = std::make_shared<Call>();
    call->core = &core_;
    call->strategy = custom == nullptr ? &strategies_.of(*info->kind) : &custom->strategy();
    call->custom = custom;
    if (custom != nullptr && !custom->deprecation().empty()) {
        call->warnings.push_back(custom->deprecation());
    }
    call->info = std::move(*info);
    call->format = std::move(*format);
    if (call->info.kind != &call->strategy->kind()) call->format.served = call->info.kind;
    call->rows = row_object(*request);
    call->request = std::move(request);
    call->responder = std::move(responder);
    if (converter_of(call->strategy->kind()) != nullptr) {
        if (on_waiting_thread(core_, [held = CallPtr(call)] { dispatch(held); })) return;
        return call->respond(too_many_requests("too many requests wait for the conversion of objects"));
    }
    const Admission* admission = core_.admission.load();
    if (admission == nullptr || is_read(call->info.verb) || !admission->blocks(*call->info.kind)) return dispatch(call);
    run_where_admission_waits(*admission, call, [held = CallPtr(call)] { dispatch(held); });
}

Result<std::shared_ptr<const Message>> ApiImpl::read(const codec::KindInfo& kind,
                                                     const std::string& name_space,
                                                     const std::string& name) {
    auto found = read_object(core_, strategies_.of(kind), name_space, name);
    if (found) {
        // The decoded object is part of what the cache shares; the pointer keeps the whole alive.
        return std::shared_ptr<const Message>(*found, &(*found)->message());
    }
    const StatusError& why = found.error();
    constexpr int kGone = 404;
    return make_error(why.code == kGone ? Code::kNotFound : Code::kDataLoss, "{}", why.message);
}

Result<std::unique_ptr<Observation>> ApiImpl::observe(const codec::KindInfo& kind, bool hold,
                                                      Observer observer) {
    // Ends the observation with its holder, while a task on a worker may still have a hand on it.
    class Held final : public Observation {
    public:
        explicit Held(std::shared_ptr<KindObservation> held) : held_(std::move(held)) {}
        ~Held() override { held_->stop(); }
        Held(const Held&) = delete;
        Held& operator=(const Held&) = delete;

    private:
        std::shared_ptr<KindObservation> held_;
    };
    const auto made =
        std::make_shared<KindObservation>(core_, strategies_.of(kind), std::move(observer));
    SLUICE_TRY(made->start());
    if (hold) {
        const std::lock_guard lock(core_.mutex);
        std::erase_if(core_.observations, [](const auto& weak) { return weak.expired(); });
        core_.observations.push_back(made);
    }
    return std::unique_ptr<Observation>(std::make_unique<Held>(made));
}

void ApiImpl::on_custom_kinds(CustomListener listener) {
    const auto tell = [listener = std::move(listener)](const CustomSnapshot& snapshot) {
        std::vector<codec::PublishedKind> kinds;
        for (const auto& kind : snapshot.kinds) {
            if (kind->served()) kinds.push_back({kind->kind(), kind->schema_json()});
        }
        listener(std::move(kinds));
    };
    core_.custom->on_change([this, tell](const CustomSnapshot& snapshot) {
        core_.end_stale_watches();
        tell(snapshot);
    });
}

ApiFigures ApiImpl::figures() const {
    ApiFigures out;
    const auto count = [&](const Strategy& strategy) {
        const auto range = core_.store.range(strategy.storage_prefix() + "/", "", 1);
        if (!range) return;
        const auto& kind = strategy.kind();
        const std::string dot = kind.gvk.group.empty() ? "" : ".";
        out.objects.emplace_back(kind.resource + dot + kind.gvk.group, range->items.size() + range->remaining);
    };
    for (const auto& strategy : strategies_.all()) count(*strategy);
    const auto custom = core_.custom->snapshot();
    for (const auto& kind : custom->kinds) {
        if (kind->storage()) count(kind->strategy());
    }
    out.overflowed_watches = core_.overflowed_watches.load(std::memory_order_relaxed);
    out.custom_kinds = custom->kinds.size();
    out.refused_custom_kinds = core_.refused_custom_kinds.load(std::memory_order_relaxed);
    out.claim_conflicts = core_.claim_conflicts.load(std::memory_order_relaxed);
    out.object_cache_bytes = core_.cache.bytes() + core_.previous.bytes();
    out.object_cache_misses = core_.cache.misses() + core_.previous.misses();
    out.repaired_claims = core_.repaired_claims.load(std::memory_order_relaxed);
    return out;
}

void ApiImpl::shutdown() {
    if (definitions_ != nullptr) definitions_->stop();
    if (namespace_deletion_ != nullptr) namespace_deletion_->stop();
    if (event_expiry_ != nullptr) event_expiry_->stop();
    if (quotas_ != nullptr) quotas_->stop();
    if (ip_addresses_ != nullptr) ip_addresses_->stop();
    if (ConversionHooks* hooks = core_.custom->hooks()) hooks->stop();
    core_.stop();
}

Result<void> check_options(const ApiOptions& options) {
    if (options.service_cidrs.empty() || options.service_cidrs.size() > 2) {
        return make_error(Code::kInvalidArgument,
                          "service CIDRs: one or two are needed, {} were given",
                          options.service_cidrs.size());
    }
    if (options.service_cidrs.size() == 2 &&
        options.service_cidrs[0].family() == options.service_cidrs[1].family()) {
        return make_error(Code::kInvalidArgument, "service CIDRs {} and {} are of the same family",
                          options.service_cidrs[0].to_string(),
                          options.service_cidrs[1].to_string());
    }
    for (const IpPrefix& cidr : options.service_cidrs) {
        constexpr std::uint8_t kMaxV4Bits = 29;
        constexpr std::uint8_t kMaxV6Bits = 125;
        if (cidr.bits > (cidr.address.is_v4() ? kMaxV4Bits : kMaxV6Bits)) {
            return make_error(Code::kInvalidArgument, "service CIDR {} is too small",
                              cidr.to_string());
        }
    }
    if (options.nodeport_min == 0 || options.nodeport_min > options.nodeport_max) {
        return make_error(Code::kInvalidArgument, "node port range {}-{} is empty",
                          options.nodeport_min, options.nodeport_max);
    }
    if (options.event_ttl_s < kMinEventTtlSeconds) {
        return make_error(Code::kInvalidArgument, "event TTL of {} s is below {} s",
                          options.event_ttl_s, kMinEventTtlSeconds);
    }
    if (options.not_ready_toleration_s < 0 || options.unreachable_toleration_s < 0) {
        return make_error(Code::kInvalidArgument,
                          "default tolerations of {} s (not ready) and {} s (unreachable) must "
                          "not be negative",
                          options.not_ready_toleration_s, options.unreachable_toleration_s);
    }
    return {};
}

}  // namespace

void Api::admit_posted(std::shared_ptr<const http::Request> request, std::shared_ptr<http::Responder> responder,
                       Posted posted, AnswerPosted answer) {
    (void)request;
    (void)responder;
    (void)posted;
    answer_unasked(answer);
}

std::string Api::kind_name(const codec::KindInfo& kind) { return kind.resource; }

Result<std::unique_ptr<Api>> make_api(store::Store& store, const ApiOptions& options) {
    SLUICE_TRY(check_options(options));
    auto api = std::make_unique<ApiImpl>(store, options);
    SLUICE_TRY(api->start(options));
    return std::unique_ptr<Api>(std::move(api));
}

}  // namespace sluice::registry
