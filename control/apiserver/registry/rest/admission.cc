#include "control/apiserver/registry/rest/admission.h"

#include <google/protobuf/message.h>

#include "api/kubernetes/meta/v1/meta.pb.h"

namespace sluice::registry {

Transform admitted(const CallPtr& call, bool dry_run, Transform transform) {
    const Admission* admission = call->core->admission.load();
    if (admission == nullptr) return transform;
    call->dry_run = dry_run;
    return [call, dry_run, admission, transform = std::move(transform),
            passed = false](const ObjectPtr& existing) mutable -> Answer<Change> {
        auto change = transform(existing);
        if (!change) return change;
        const bool deletion = call->info.verb == Verb::kDelete || call->info.verb == Verb::kDeleteCollection;
        const Message* object = change->object.get();
        if (object == nullptr && existing != nullptr && change->kind == Change::Kind::kNothing) {
            object = &existing->message();
        }
        std::string_view name = call->info.name;
        // Of a creation or of one object of a collection, the object itself says.
        if (existing != nullptr) name = existing->meta().name();
        if (existing == nullptr && object != nullptr) name = codec::object_meta(*object).name();
        std::string_view name_space = call->info.name_space;
        if (existing != nullptr) name_space = existing->meta().namespace_();
        Operation operation = existing == nullptr ? Operation::kCreate : Operation::kUpdate;
        if (deletion) operation = Operation::kDelete;
        // A subresource that is posted creates something, whatever it does to the object.
        if (call->info.verb == Verb::kCreate) operation = Operation::kCreate;
        const AdmissionRequest request{
            .user = call->request->identity,
            .operation = operation,
            .verb = call->info.verb,
            .kind = call->strategy->kind(),
            .subresource = call->info.subresource,
            .name_space = name_space,
            .name = name,
            .object = deletion ? nullptr : object,
            .old = existing == nullptr ? nullptr : &existing->message(),
            .dry_run = dry_run,
            .call = *call,
            .again = passed,
        };
        Answer<void> ok;
        if (deletion) ok = admission->mutate_last(request, nullptr, {});
        if (ok) ok = admission->check(request);
        if (!ok) {
            if (change->reservation != nullptr) change->reservation->rollback();
            return refuse(std::move(ok).error());
        }
        // A refusal is asked for again where the index may have been behind (etcd), as if for the first time.
        passed = true;
        return change;
    };
}

Answer<void> admit_sent(Call& call, bool dry_run, const codec::KindInfo& kind, Message* sent,
                        const Message* old) {
    call.consulted = true;
    const Admission* admission = call.core->admission.load();
    if (admission == nullptr) return {};
    AdmissionRequest request = admission_request(call, *sent, old);
    if (!call.info.name.empty()) request.name = call.info.name;
    request.dry_run = dry_run;
    request.sent = &kind;
    if (auto ok = admission->mutate_last(request, sent, {}); !ok) return ok;
    return admission->consult(request);
}

AdmissionRequest admission_request(Call& call, const Message& object, const Message* old) {
    const auto& meta = codec::object_meta(object);
    return {
        .user = call.request->identity,
        .operation = old == nullptr ? Operation::kCreate : Operation::kUpdate,
        .verb = call.info.verb,
        .kind = call.strategy->kind(),
        .subresource = call.info.subresource,
        .name_space = call.info.name_space,
        .name = meta.name(),
        .object = &object,
        .old = old,
        .dry_run = call.dry_run,
        .call = call,
    };
}

}  // namespace sluice::registry
