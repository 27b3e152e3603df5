// delete and deletecollection.
#include <google/protobuf/message.h>

#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/rest/admission.h"
#include "control/apiserver/registry/rest/lifecycle.h"
#include "control/apiserver/registry/rest/selection.h"
#include "control/apiserver/registry/rest/verbs.h"

namespace sluice::registry {

namespace {

Transform deletion(const Strategy& strategy, std::string name, DeleteOptions options) {
    return [&strategy, name = std::move(name),
            options = std::move(options)](const ObjectPtr& existing) -> Answer<Change> {
        if (existing == nullptr) return refuse(not_found(strategy.kind(), name));
        return prepare_deletion(strategy, *existing, options);
    };
}

void answer_deletion(const CallPtr& call, const Outcome& outcome) {
    if (!outcome.deleted || call->strategy->returns_deleted_object()) {
        return call->respond(200, *outcome.object);
    }
    const codec::KindInfo& kind = call->strategy->kind();
    metav1::Status status;
    status.mutable_metadata();
    status.set_status("Success");
    auto* details = status.mutable_details();
    details->set_name(outcome.object->meta().name());
    if (!kind.gvk.group.empty()) details->set_group(kind.gvk.group);
    details->set_kind(kind.resource);
    details->set_uid(outcome.object->meta().uid());
    call->respond(200, status);
}

void warn_of_orphans(const CallPtr& call, const DeleteOptions& options) {
    if (options.propagation != Propagation::kDefault) return;
    const std::string_view warning = call->strategy->deletion_warning();
    if (!warning.empty()) call->warnings.emplace_back(warning);
}

// One deletecollection on its way: objects go one after another, so that a large collection does not fill the
// store's queue.
struct Collection : std::enable_shared_from_this<Collection> {
    CallPtr call;
    DeleteOptions options;
    ListPage page;
    std::size_t next = 0;

    void step();
};

void Collection::step() {
    if (next == page.items.size()) return call->respond_list(page);
    const auto& meta = page.items[next]->meta();
    ++next;
    change_object(*call->core, *call->strategy, meta.namespace_(), meta.name(), options.dry_run,
                  admitted(call, options.dry_run, deletion(*call->strategy, meta.name(), options)),
                  [self = shared_from_this()](Answer<Outcome> outcome) {
                      // Gone already is what was asked for.
                      if (!outcome && outcome.error().code != 404) {
                          return self->call->respond(std::move(outcome).error());
                      }
                      // A fresh stack for each step: `done` may have been called from within change_object.
                      Core& core = *self->call->core;
                      core.executor.post([self] {
                          self->call->core->go_on(self->call->strategy->kind(), [self] { self->step(); });
                      });
                  });
}

void delete_all(const CallPtr& call) {
    auto options = parse_delete_options(*call->request);
    if (!options) return call->respond(std::move(options).error());
    warn_of_orphans(call, *options);
    auto list_options = parse_list_options(*call->request, false);
    if (!list_options) return call->respond(std::move(list_options).error());
    auto selection = Selection::make(*call->strategy, call->info, *list_options);
    if (!selection) return call->respond(std::move(selection).error());
    auto page = list_page(call, *list_options, *selection);
    if (!page) return call->respond(std::move(page).error());
    const auto work = std::make_shared<Collection>();
    work->call = call;
    work->options = std::move(*options);
    work->page = std::move(*page);
    work->step();
}

}  // namespace

void serve_delete(const CallPtr& call) {
    auto options = parse_delete_options(*call->request);
    if (!options) return call->respond(std::move(options).error());
    warn_of_orphans(call, *options);
    change_object(*call->core, *call->strategy, call->info.name_space, call->info.name,
                  options->dry_run,
                  admitted(call, options->dry_run,
                           deletion(*call->strategy, call->info.name, *options)),
                  [call](Answer<Outcome> outcome) {
                      if (!outcome) return call->respond(std::move(outcome).error());
                      answer_deletion(call, *outcome);
                  });
}

void serve_delete_collection(const CallPtr& call) {
    call->core->go_on(call->strategy->kind(), [call] { delete_all(call); });
}

}  // namespace sluice::registry
