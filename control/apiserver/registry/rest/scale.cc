// The subresource scale: a workload's number of replicas as an autoscaling/v1 Scale, whatever its kind.
#include <fmt/format.h>
#include <google/protobuf/message.h>

#include "api/codec/apply/entries.h"
#include "api/codec/json.h"
#include "api/kubernetes/autoscaling/v1/scale.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/rest/applying_private.h"
#include "control/apiserver/registry/rest/admission.h"
#include "control/apiserver/registry/rest/body.h"
#include "control/apiserver/registry/rest/lifecycle.h"
#include "control/apiserver/registry/rest/patching_private.h"
#include "control/apiserver/registry/rest/verbs.h"

namespace sluice::registry {

namespace {

namespace scalev1 = ::k8s::io::api::autoscaling::v1;

// Scales are not stored, so the scheme does not list them; bodies and answers need a kind all the same.
const codec::KindInfo& scale_kind() {
    static const codec::KindInfo kind{
        .gvk = {"autoscaling", "v1", "Scale"},
        .resource = "scales",
        .singular = "scale",
        .short_names = {},
        .categories = {},
        .namespaced = true,
        .has_status = false,
        .subresources = {},
        .prototype = &scalev1::Scale::default_instance(),
        .list_prototype = nullptr,
    };
    return kind;
}

const Strategy& scale_strategy() {
    static const Strategy strategy(scale_kind());
    return strategy;
}

std::unique_ptr<scalev1::Scale> scale_from(const Strategy& strategy, const StoredObject& object) {
    const auto view = strategy.scale_of(object.message());
    SLUICE_ASSERT(view.has_value());  // only kinds that can be scaled have the subresource
    auto scale = std::make_unique<scalev1::Scale>();
    const auto& meta = object.meta();
    scale->mutable_metadata()->set_name(meta.name());
    scale->mutable_metadata()->set_namespace_(meta.namespace_());
    scale->mutable_metadata()->set_uid(meta.uid());
    scale->mutable_metadata()->set_resourceversion(meta.resourceversion());
    *scale->mutable_metadata()->mutable_creationtimestamp() = meta.creationtimestamp();
    // At 0 the spec is an empty object, as in Kubernetes.
    scale->mutable_spec();
    if (view->replicas != 0) scale->mutable_spec()->set_replicas(view->replicas);
    scale->mutable_status()->set_replicas(view->status_replicas);
    if (!view->selector.empty()) scale->mutable_status()->set_selector(view->selector);
    return scale;
}

void answer_scale(const CallPtr& call, const ObjectPtr& object) {
    const StoredObject shown(scale_kind(), scale_from(*call->strategy, *object), object->revision());
    Call answer = *call;
    answer.strategy = &scale_strategy();
    answer.format.served = nullptr;
    answer.respond(200, shown);
}

// What the client wants of a scale, and in whose name.
struct WantedScale {
    std::shared_ptr<const scalev1::Scale> scale;
    // Of an apply: the workload's managers afterwards.
    std::optional<codec::Managers> managers;
};

Answer<Change> scale_to(const CallPtr& call, const StoredObject& existing, const FieldWriter& writer,
                        const WantedScale& asked) {
    scalev1::Scale wanted = *asked.scale;
    if (auto ok = admit_sent(*call, call->dry_run, scale_kind(), &wanted, scale_from(*call->strategy, existing).get());
        !ok) {
        return refuse(std::move(ok).error());
    }
    const Strategy& strategy = *call->strategy;
    const auto& meta = wanted.metadata();
    if (auto ok = match_url_name(call->info, wanted); !ok) return refuse(std::move(ok).error());
    if (!meta.uid().empty() && meta.uid() != existing.meta().uid()) {
        return refuse(uid_precondition_failed(strategy, existing, meta.uid()));
    }
    if (wanted.spec().replicas() < 0) {
        FieldErrors errors;
        errors.invalid("spec.replicas", wanted.spec().replicas(),
                       "must be greater than or equal to 0");
        return refuse(invalid(scale_kind(), meta.name(), errors));
    }
    std::unique_ptr<Message> object(existing.message().New());
    object->CopyFrom(existing.message());
    // Empty: whatever the version; prepare_update refuses another than the stored one.
    codec::object_meta(*object).set_resourceversion(meta.resourceversion());
    strategy.set_replicas(object.get(), wanted.spec().replicas());
    if (asked.managers) codec::write_managers(*asked.managers, &codec::object_meta(*object));
    return prepare_update(strategy, existing, std::move(object), Part::kMain,
                          {&writer, asked.managers.has_value()});
}

FieldWriter scale_writer(const CallPtr& call, const WriteOptions& options) {
    FieldWriter out = field_writer(*call, options);
    out.timeless = true;
    return out;
}

using WantScale = std::function<Answer<WantedScale>(const StoredObject&)>;

void update_scale(const CallPtr& call, const WriteOptions& options, WantScale wanted) {
    const bool dry_run = options.dry_run;
    FieldWriter writer = scale_writer(call, options);
    change_object(
        *call->core, *call->strategy, call->info.name_space, call->info.name, dry_run,
        admitted(call, dry_run,
                 [call, writer = std::move(writer), wanted = std::move(wanted)](
                     const ObjectPtr& existing) -> Answer<Change> {
            if (existing == nullptr) {
                return refuse(not_found(call->strategy->kind(), call->info.name));
            }
            auto scale = wanted(*existing);
            if (!scale) return refuse(std::move(scale).error());
            return scale_to(call, *existing, writer, *scale);
        }),
        [call](Answer<Outcome> outcome) {
            if (!outcome) return call->respond(std::move(outcome).error());
            answer_scale(call, outcome->object);
        });
}

std::shared_ptr<const scalev1::Scale> as_scale(std::unique_ptr<Message> message) {
    return std::static_pointer_cast<const scalev1::Scale>(
        std::shared_ptr<const Message>(std::move(message)));
}

void put_scale(const CallPtr& call) {
    auto options = parse_write_options(*call->request, "UpdateOptions");
    if (!options) return call->respond(std::move(options).error());
    auto body = read_body(*call->request, scale_strategy(), scale_kind(),
                          options->validation, &call->warnings);
    if (!body) return call->respond(std::move(body).error());
    if (auto ok = place_in_namespace(call->info, body->get()); !ok) {
        return call->respond(std::move(ok).error());
    }
    update_scale(call, *options,
                 [scale = as_scale(std::move(*body))](const StoredObject&) -> Answer<WantedScale> {
                     return WantedScale{scale, std::nullopt};
                 });
}

Answer<WantedScale> apply_scale(const CallPtr& call, const WriteOptions& options,
                                const boost::json::value& config, const StoredObject& existing) {
    auto known = codec::read_managers(existing.meta());
    if (!known) return refuse(unclassified("failed to decode managed fields: " + known.error().message));
    static const codec::FieldSet kAll;
    const Application application{scale_kind(), field_writer(*call, options), options.force,
                                  kAll,         call->info.name_space,        call->info.name};
    auto document = codec::to_json_value(*scale_from(*call->strategy, existing), &scale_kind().gvk);
    codec::Managers managers = managers_of_scale(*known);
    if (auto ok = apply_to(application, config, &document, &managers); !ok) {
        return refuse(std::move(ok).error());
    }
    auto scale = std::make_unique<scalev1::Scale>();
    if (auto read = codec::from_json_value(document, scale.get()); !read) {
        return refuse(unclassified(read.error().message));
    }
    WantedScale out;
    out.managers = std::move(*known);
    merge_scale_managers(std::move(managers), call->strategy->kind().gvk.api_version(), &*out.managers);
    out.scale = as_scale(std::move(scale));
    return out;
}

Answer<WantedScale> patched_scale(const CallPtr& call, const WriteOptions& options, const Patch& patch,
                                  const StoredObject& existing) {
    if (patch.type == PatchType::kApply) return apply_scale(call, options, patch.document, existing);
    const auto before = scale_from(*call->strategy, existing);
    auto document = apply_patch_to(*before, scale_kind().gvk, patch);
    if (!document) return refuse(std::move(document).error());
    call->warnings.clear();
    auto after = read_patched(*document, patch, scale_strategy(), scale_kind(), options.validation,
                              &call->warnings);
    if (!after) return refuse(std::move(after).error());
    if (auto ok = place_in_namespace(call->info, after->get()); !ok) {
        return refuse(std::move(ok).error());
    }
    return WantedScale{as_scale(std::move(*after)), std::nullopt};
}

void patch_scale(const CallPtr& call) {
    auto options = parse_write_options(*call->request, "PatchOptions");
    if (!options) return call->respond(std::move(options).error());
    auto patch = read_patch(*call->request);
    if (!patch) return call->respond(std::move(patch).error());
    update_scale(call, *options,
                 [call, patch = std::move(*patch), options = *options](const StoredObject& existing) {
                     return patched_scale(call, options, patch, existing);
                 });
}

}  // namespace

void serve_scale(const CallPtr& call) {
    switch (call->info.verb) {
        case Verb::kUpdate: return put_scale(call);
        case Verb::kPatch: return patch_scale(call);
        default: break;
    }
    auto object =
        read_object(*call->core, *call->strategy, call->info.name_space, call->info.name);
    if (!object) return call->respond(std::move(object).error());
    answer_scale(call, *object);
}

}  // namespace sluice::registry
