// Server-side apply: a configuration and the live object make the new object and the new record of who owns what.
#pragma once

#include <boost/json/value.hpp>
#include <functional>
#include <memory>

#include "control/apiserver/registry/rest/field_tracking.h"

namespace sluice::registry {

// One apply, from the request to the object.
struct Application {
    const codec::KindInfo& kind;  // that the configuration is of
    FieldWriter writer;
    bool force = false;
    const codec::FieldSet& ignored;
    // For messages: where the object is.
    std::string name_space;
    std::string name;
};

// The configuration merged into *live (JSON without managedFields, with kind and apiVersion), and *managers as they are
// afterwards. 409 with all conflicts; 400 and 500 for a configuration that does not fit, in kube-apiserver's words.
Answer<void> apply_to(const Application& application, const boost::json::value& config, boost::json::value* live,
                      codec::Managers* managers);

// 500, as upstream answers, for a configuration of a custom object with fields that its schema does not know: nobody
// could own them.
Answer<void> check_declared(const Application& application, const Strategy& strategy, const boost::json::value& config);

// The whole of it for an object that exists, or is to be made (existing: null): as the client wants it, before defaults
// and checks, in its stored version.
Answer<std::unique_ptr<Message>> applied_object(const Application& application,
                                                const boost::json::value& config,
                                                const StoredObject* existing);

// What the members of managedFields of a workload are for its scale, and back.
[[nodiscard]] codec::Managers managers_of_scale(const codec::Managers& workload);
void merge_scale_managers(codec::Managers scale, const std::string& workload_version, codec::Managers* workload);

}  // namespace sluice::registry
