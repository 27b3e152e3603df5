// The verbs on typed objects. Each answers its Call, now or later.
#pragma once

#include "control/apiserver/registry/rest/core.h"
#include "control/apiserver/registry/rest/selection.h"

namespace sluice::registry {

void serve_get(const CallPtr& call);
void serve_list(const CallPtr& call);
void serve_create(const CallPtr& call);
void serve_update(const CallPtr& call);
void serve_patch(const CallPtr& call);
void serve_delete(const CallPtr& call);
void serve_delete_collection(const CallPtr& call);
// get, update and patch of the subresource scale.
void serve_scale(const CallPtr& call);
// create of pods/binding and of bindings.
void serve_binding(const CallPtr& call);
// create of pods/eviction.
void serve_eviction(const CallPtr& call);
void serve_watch(const CallPtr& call);  // watch.cc

// One page of a list, as its options say.
Answer<ListPage> list_page(const CallPtr& call, const ListOptions& options, const Selection& selection);

// 404 when the namespace does not exist; at creation 403 while it is being deleted.
Answer<void> check_namespace(Core& core, const codec::KindInfo& kind, std::string_view name_space,
                             std::string_view object_name);

}  // namespace sluice::registry
