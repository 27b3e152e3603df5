// What others have to say about a write before it is done, with who asks for it: the hook of admission plugins and of
// the checks against escalation. The registry knows no plugin.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "control/apiserver/registry/rest/core.h"

namespace sluice::registry {

enum class Operation { kCreate, kUpdate, kDelete, kConnect };

// What a client asks of a connection to an object (exec, attach), as the object that Kubernetes makes of its query.
struct ConnectOptions {
    codec::GroupVersionKind gvk;
    std::string json;
};

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
    // Where plugins read what they decide by, and where what they have to say to the client goes.
    Call& call;
    // Another attempt of the same write, as another one came between: what was charged for it is charged already.
    bool again = false;
    // Of object and old, where they are not the resource's own: a Binding, an Eviction, a Scale.
    const codec::KindInfo* sent = nullptr;
    // Of kConnect, which has no object otherwise.
    const ConnectOptions* connect = nullptr;
};

// Thread-safe. Called on connection threads and workers; must not block for long.
class Admission {
public:
    virtual ~Admission() = default;
    // Changes *object, which request.object is, before the kind's own admission and preparation.
    [[nodiscard]] virtual Answer<void> mutate(const AdmissionRequest& request, Message* object) const {
        (void)request;
        (void)object;
        return {};
    }
    // The same after the kind's own admission: what servers outside have to say. again: admits the object by this
    // server's own rules once more, after it was changed. object: null for a deletion and a connection.
    using AdmitAgain = std::function<Answer<void>()>;
    [[nodiscard]] virtual Answer<void> mutate_last(const AdmissionRequest& request, Message* object,
                                                   const AdmitAgain& again) const {
        (void)request;
        (void)object;
        (void)again;
        return {};
    }
    // What servers outside say of what was sent to a subresource; check() then does not ask them (Call::consulted).
    [[nodiscard]] virtual Answer<void> consult(const AdmissionRequest& request) const {
        (void)request;
        return {};
    }
    [[nodiscard]] virtual Answer<void> check(const AdmissionRequest& request) const = 0;
    // Whether admitting a write of this kind, or of a subresource of it, may take long, so that it must be done by
    // run(). What nobody outside is asked about does not wait for those who are.
    [[nodiscard]] virtual bool blocks(const codec::KindInfo& kind) const {
        (void)kind;
        return false;
    }
    // Runs the task on a thread that may wait, or refuses by returning false when too many wait.
    [[nodiscard]] virtual bool run(std::function<void()> task) const {
        task();
        return true;
    }
};

// The request as plugins see it before there is a Change; `old` is null for a creation.
[[nodiscard]] AdmissionRequest admission_request(Call& call, const Message& object, const Message* old);

// Asks servers outside about what was sent to a subresource and is not the object itself: a Binding, an Eviction, a
// Scale. They may change it. old: null for what is posted.
[[nodiscard]] Answer<void> admit_sent(Call& call, bool dry_run, const codec::KindInfo& kind, Message* sent,
                                      const Message* old);

// The transform, and then the core's admission of what came out. A write that changes nothing is checked too, as
// whoever may not write must not learn that.
[[nodiscard]] Transform admitted(const CallPtr& call, bool dry_run, Transform transform);

}  // namespace sluice::registry
