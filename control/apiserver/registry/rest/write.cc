// create, update and patch.
#include <fmt/format.h>
#include <google/protobuf/message.h>

#include "api/kubernetes/core/v1/namespace.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/rest/applying_private.h"
#include "control/apiserver/registry/rest/admission.h"
#include "control/apiserver/registry/rest/body.h"
#include "control/apiserver/registry/rest/lifecycle.h"
#include "control/apiserver/registry/rest/patching_private.h"
#include "control/apiserver/registry/rest/verbs.h"

namespace sluice::registry {

namespace {

// Names tried for one generateName, as kube-apiserver does.
constexpr int kMaxNameAttempts = 8;
// A generated name keeps room for its suffix within a DNS label.
constexpr std::size_t kMaxGeneratedBase = 58;

struct Creation {
    CallPtr call;
    WriteOptions options;
    FieldWriter writer;
    std::string name;
    std::string generate_name;  // empty: the name is as it is
    // As the client sent it, placed in its namespace. Gone with the first attempt; for another one it is read again.
    std::unique_ptr<Message> object;
    int attempts = 0;
};

std::unique_ptr<Message> clone(const Message& message) {
    std::unique_ptr<Message> copy(message.New());
    copy->CopyFrom(message);
    return copy;
}

void answer_outcome(const CallPtr& call, Answer<Outcome> outcome, bool may_create) {
    if (!outcome) return call->respond(std::move(outcome).error());
    call->respond(outcome->created && may_create ? 201 : 200, *outcome->object);
}

Answer<std::unique_ptr<Message>> read_new(const Call& call, const WriteOptions& options,
                                          std::vector<std::string>* warnings) {
    auto object = read_body(*call.request, *call.strategy, *call.info.kind, options.validation, warnings);
    if (!object) return object;
    if (auto ok = place_in_namespace(call.info, object->get()); !ok) return refuse(std::move(ok).error());
    call.strategy->set_requester(object->get(), call.request->identity);
    return object;
}

Answer<std::unique_ptr<Message>> take_object(Creation& creation) {
    if (creation.object != nullptr) return std::move(creation.object);
    std::vector<std::string> told_already;
    return read_new(*creation.call, creation.options, &told_already);
}

void run_creation(const std::shared_ptr<Creation>& creation) {
    const CallPtr& call = creation->call;
    std::string name = creation->name;
    if (!creation->generate_name.empty()) {
        name = creation->generate_name.substr(0, kMaxGeneratedBase) + name_suffix();
    }
    change_object(
        *call->core, *call->strategy, call->info.name_space, name, creation->options.dry_run,
        admitted(call, creation->options.dry_run,
                 [creation, name](const ObjectPtr& existing) -> Answer<Change> {
            const Strategy& strategy = *creation->call->strategy;
            if (existing != nullptr) return refuse(already_exists(strategy.kind(), name));
            auto object = take_object(*creation);
            if (!object) return refuse(std::move(object).error());
            codec::object_meta(**object).set_name(name);
            return prepare_creation(strategy, std::move(*object), {&creation->writer, false, creation->call.get()});
        }),
        [creation](Answer<Outcome> outcome) {
            if (!outcome && !creation->generate_name.empty() && outcome.error().reason == "AlreadyExists") {
                if (++creation->attempts < kMaxNameAttempts) {
                    const Call& made = *creation->call;
                    return made.core->go_on(made.strategy->kind(), [creation] { run_creation(creation); });
                }
                outcome.error().message +=
                    ", the server was not able to generate a unique name for the object";
            }
            answer_outcome(creation->call, std::move(outcome), true);
        });
}

struct PatchRequest {
    CallPtr call;
    WriteOptions options;
    Patch patch;
    FieldWriter writer;
    Part part = Part::kMain;
};

// Places the object where the request says, and makes it.
Answer<Change> create_at(const CallPtr& call, std::unique_ptr<Message> object, const WriteOrigin& origin) {
    const Strategy& strategy = *call->strategy;
    if (auto ok = check_namespace(*call->core, strategy.kind(), call->info.name_space, call->info.name); !ok) {
        return refuse(std::move(ok).error());
    }
    strategy.set_requester(object.get(), call->request->identity);
    return prepare_creation(strategy, std::move(object), origin);
}

Answer<Change> apply_configuration(PatchRequest& request, const ObjectPtr& existing) {
    const CallPtr& call = request.call;
    const Strategy& strategy = *call->strategy;
    if (existing == nullptr && request.part != Part::kMain) {
        return refuse(not_found(strategy.kind(), call->info.name));
    }
    const Application application{*call->info.kind,      request.writer,
                                  request.options.force, reset_fields(strategy.kind(), request.part),
                                  call->info.name_space, call->info.name};
    if (auto ok = check_declared(application, strategy, request.patch.document); !ok) {
        return refuse(std::move(ok).error());
    }
    auto object = applied_object(application, request.patch.document, existing.get());
    if (!object) return refuse(std::move(object).error());
    const std::string& uid = codec::object_meta(**object).uid();
    if (existing == nullptr && !uid.empty()) {
        return refuse(conflict(strategy.kind(), call->info.name,
                               fmt::format("uid mismatch: the provided object specified uid {}, and no "
                                           "existing object was found",
                                           uid)));
    }
    if (auto ok = place_in_namespace(call->info, object->get()); !ok) {
        return refuse(std::move(ok).error());
    }
    if (auto ok = match_url_name(call->info, **object); !ok) return refuse(std::move(ok).error());
    const WriteOrigin origin{&request.writer, true, call.get()};
    if (existing == nullptr) return create_at(call, std::move(*object), origin);
    return prepare_update(strategy, *existing, std::move(*object), request.part, origin);
}

Answer<Change> apply_patch(PatchRequest& request, const ObjectPtr& existing) {
    if (request.patch.type == PatchType::kApply) return apply_configuration(request, existing);
    const Strategy& strategy = *request.call->strategy;
    if (existing == nullptr) return refuse(not_found(strategy.kind(), request.call->info.name));
    const codec::KindInfo& served = *request.call->info.kind;
    auto document =
        apply_patch_to(existing->as(served).message(), served.gvk, request.patch);
    if (!document) return refuse(std::move(document).error());
    request.call->warnings.clear();
    auto object = read_patched(*document, request.patch, strategy, served, request.options.validation,
                               &request.call->warnings);
    if (!object) return refuse(std::move(object).error());
    if (auto ok = place_in_namespace(request.call->info, object->get()); !ok) {
        return refuse(std::move(ok).error());
    }
    if (auto ok = match_url_name(request.call->info, **object); !ok) {
        return refuse(std::move(ok).error());
    }
    return prepare_update(strategy, *existing, std::move(*object), request.part,
                          {&request.writer, false, request.call.get()});
}

Part part_of(const RequestInfo& info) {
    if (info.subresource == "status") return Part::kStatus;
    if (info.subresource == "finalize") return Part::kFinalize;
    if (info.subresource == "approval" || info.subresource == "ephemeralcontainers") {
        return Part::kApproval;
    }
    return Part::kMain;
}

// The finalize subresource of a Namespace changes spec.finalizers and nothing else.
std::unique_ptr<Message> finalized(const Message& existing, const Message& wanted) {
    namespace corev1 = ::k8s::io::api::core::v1;
    auto object = clone(existing);
    auto& to = static_cast<corev1::Namespace&>(*object);
    const auto& from = static_cast<const corev1::Namespace&>(wanted);
    *to.mutable_spec()->mutable_finalizers() = from.spec().finalizers();
    to.mutable_metadata()->set_resourceversion(from.metadata().resourceversion());
    return object;
}

Answer<Change> apply_update(const CallPtr& call, const std::shared_ptr<const Message>& wanted,
                            const FieldWriter& writer, Part part, const ObjectPtr& existing) {
    const Strategy& strategy = *call->strategy;
    const auto& meta = codec::object_meta(*wanted);
    if (existing == nullptr) {
        if (!strategy.allow_create_on_update() || part != Part::kMain) {
            return refuse(not_found(strategy.kind(), call->info.name));
        }
        auto object = clone(*wanted);
        codec::object_meta(*object).clear_resourceversion();
        return create_at(call, std::move(object), {&writer, false, call.get()});
    }
    if (!meta.uid().empty() && meta.uid() != existing->meta().uid()) {
        return refuse(uid_precondition_failed(strategy, *existing, meta.uid()));
    }
    auto object = part == Part::kFinalize ? finalized(existing->message(), *wanted)
                                          : clone(*wanted);
    return prepare_update(strategy, *existing, std::move(object), part, {&writer, false, call.get()});
}

}  // namespace

Answer<void> check_namespace(Core& core, const codec::KindInfo& kind, std::string_view name_space,
                             std::string_view object_name) {
    if (!kind.namespaced) return {};
    namespace corev1 = ::k8s::io::api::core::v1;
    const codec::KindInfo* namespaces = codec::find_resource("", "v1", "namespaces");
    SLUICE_ASSERT(namespaces != nullptr);
    auto found = read_object(core, core.strategies.of(*namespaces), "", name_space);
    if (!found) return refuse(std::move(found).error());
    const auto& object = static_cast<const corev1::Namespace&>((*found)->message());
    if (!object.metadata().has_deletiontimestamp()) return {};
    StatusError error = forbidden(
        kind, object_name,
        fmt::format("unable to create new content in namespace {} because it is being terminated",
                    name_space));
    error.causes.push_back({"NamespaceTerminating",
                            fmt::format("namespace {} is being terminated", name_space),
                            "metadata.namespace"});
    return refuse(std::move(error));
}

// A namespace that this server has not heard of may just have been made by way of another one.
bool missing_namespace_may_come(const CallPtr& call) {
    if (call->newest || !call->core->store.shared() || !call->strategy->kind().namespaced) {
        return false;
    }
    const codec::KindInfo* namespaces = codec::find_resource("", "v1", "namespaces");
    const auto found = call->core->store.get(
        object_key(call->core->strategies.of(*namespaces), "", call->info.name_space));
    return found && !*found;
}

void serve_create(const CallPtr& call) {
    if (missing_namespace_may_come(call)) {
        call->newest = true;
        call->core->when_newest([call](Answer<void> ok) {
            if (!ok) return call->respond(std::move(ok).error());
            call->core->go_on(call->strategy->kind(), [call] { serve_create(call); });
        });
        return;
    }
    auto options = parse_write_options(*call->request, "CreateOptions");
    if (!options) return call->respond(std::move(options).error());
    auto object = read_new(*call, *options, &call->warnings);
    if (!object) return call->respond(std::move(object).error());
    const auto& meta = codec::object_meta(**object);
    if (auto ok = check_namespace(*call->core, call->strategy->kind(), call->info.name_space,
                                  meta.name());
        !ok) {
        return call->respond(std::move(ok).error());
    }
    const auto creation = std::make_shared<Creation>();
    creation->call = call;
    creation->options = *options;
    creation->writer = field_writer(*call, *options);
    creation->name = meta.name();
    if (meta.name().empty()) creation->generate_name = meta.generatename();
    creation->object = std::move(*object);
    run_creation(creation);
}

void serve_update(const CallPtr& call) {
    auto options = parse_write_options(*call->request, "UpdateOptions");
    if (!options) return call->respond(std::move(options).error());
    auto object = read_body(*call->request, *call->strategy, *call->info.kind,
                            options->validation, &call->warnings);
    if (!object) return call->respond(std::move(object).error());
    if (auto ok = place_in_namespace(call->info, object->get()); !ok) {
        return call->respond(std::move(ok).error());
    }
    if (auto ok = match_url_name(call->info, **object); !ok) {
        return call->respond(std::move(ok).error());
    }
    const std::shared_ptr<const Message> wanted = std::move(*object);
    const Part part = part_of(call->info);
    const FieldWriter writer = field_writer(*call, *options);
    change_object(
        *call->core, *call->strategy, call->info.name_space, call->info.name, options->dry_run,
        admitted(call, options->dry_run,
                 [call, wanted, writer, part](const ObjectPtr& existing) {
                     return apply_update(call, wanted, writer, part, existing);
                 }),
        [call](Answer<Outcome> outcome) { answer_outcome(call, std::move(outcome), true); });
}

void serve_patch(const CallPtr& call) {
    auto options = parse_write_options(*call->request, "PatchOptions");
    if (!options) return call->respond(std::move(options).error());
    auto patch = read_patch(*call->request);
    if (!patch) return call->respond(std::move(patch).error());
    if (call->custom != nullptr && patch->type == PatchType::kStrategicMerge) {
        return call->respond(
            unsupported_media_type("application/json-patch+json, application/merge-patch+json, "
                                   "application/apply-patch+yaml"));
    }
    const auto request = std::make_shared<PatchRequest>();
    request->call = call;
    request->options = *options;
    request->patch = std::move(*patch);
    request->writer = field_writer(*call, *options);
    request->part = part_of(call->info);
    const bool may_create = request->patch.type == PatchType::kApply;
    change_object(
        *call->core, *call->strategy, call->info.name_space, call->info.name, options->dry_run,
        admitted(call, options->dry_run,
                 [request](const ObjectPtr& existing) { return apply_patch(*request, existing); }),
        [call, may_create](Answer<Outcome> outcome) { answer_outcome(call, std::move(outcome), may_create); });
}

}  // namespace sluice::registry
