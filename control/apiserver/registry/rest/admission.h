// What others have to say about a write before it is done, with who asks for it: the hook of admission plugins and of
// the checks against escalation. The registry knows no plugin.
#pragma once

#include <string_view>

#include "control/apiserver/registry/rest/core.h"

namespace sluice::registry {

enum class Operation { kCreate, kUpdate, kDelete };

struct AdmissionRequest {
    const http::Identity& user;
    Operation operation = Operation::kCreate;
    // The verb of the request: a PUT or a patch may create.
    Verb verb = Verb::kCreate;
    const codec::KindInfo& kind;
    std::string_view subresource;
    std::string_view name_space;
    std::string_view name;
    const Message* object = nullptr;  // as it would be stored; null for a deletion
    const Message* old = nullptr;     // null for a creation
    bool dry_run = false;
};

// Thread-safe. Called on connection threads and workers; must not block for long.
class Admission {
public:
    virtual ~Admission() = default;
    [[nodiscard]] virtual Answer<void> check(const AdmissionRequest& request) const = 0;
};

// The transform, and then the core's admission of what came out. A write that changes nothing is checked too, as
// whoever may not write must not learn that.
[[nodiscard]] Transform admitted(const CallPtr& call, bool dry_run, Transform transform);

}  // namespace sluice::registry
