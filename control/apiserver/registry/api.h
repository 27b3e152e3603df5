// The resource API: everything below /api/v1/ and /apis/GROUP/VERSION/ that names a resource.
// Discovery, OpenAPI and health are served beside it (control/apiserver).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "api/base/ip_address.h"
#include "api/base/result.h"
#include "api/codec/scheme.h"
#include "control/http/server.h"

namespace google::protobuf {
class Message;
}
namespace sluice::store {
class Store;
}

namespace sluice::registry {

class Admission;
class PostedAdmission;
struct Posted;

// A shorter event_ttl_s is refused: a controller's events would be gone before anybody could read them.
inline constexpr std::uint32_t kMinEventTtlSeconds = 10;

struct ApiOptions {
    std::vector<IpPrefix> service_cidrs;  // one or two families; the first is the default family
    std::uint16_t nodeport_min = 30000;   // both ends included
    std::uint16_t nodeport_max = 32767;
    std::string advertise_address;        // for the Service default/kubernetes and its EndpointSlice
    std::uint16_t advertise_port = 6443;
    // How long an Event stays after it was last seen.
    std::uint32_t event_ttl_s = 3600;
    // How long Pods that say nothing about it stay on a node that is not ready, or cannot be reached.
    std::int64_t not_ready_toleration_s = 300;
    std::int64_t unreachable_toleration_s = 300;
};

// An object as it now is, or that it is gone.
struct Observed {
    const codec::KindInfo* kind = nullptr;
    std::string name_space;
    std::string name;
    std::shared_ptr<const google::protobuf::Message> object;  // null: gone
};
// Called by one thread at a time, in the order of changes; must not block for long.
using Observer = std::function<void(const Observed&)>;
// Ends when destroyed, after which the observer is not called any more. It goes before the Api.
class Observation {
public:
    virtual ~Observation() = default;
};
// The object to write, from the one that exists (null: none); null leaves it as it is. May be called again when another
// write came between.
using Amend = std::function<std::unique_ptr<google::protobuf::Message>(
    const google::protobuf::Message* existing)>;

using CustomListener = std::function<void(std::vector<codec::PublishedKind>)>;

// What the resource API holds, and how often its limits were reached, for the metrics.
struct ApiFigures {
    // Stored objects by resource, "pods" or "deployments.apps".
    std::vector<std::pair<std::string, std::uint64_t>> objects;
    std::uint64_t overflowed_watches = 0;    // ended because their clients were too slow
    std::uint64_t custom_kinds = 0;          // served
    std::uint64_t refused_custom_kinds = 0;  // not served, as there are too many: now
    std::uint64_t claim_conflicts = 0;       // addresses and ports that another server had taken
    std::uint64_t object_cache_bytes = 0;    // what decoded objects kept for the next reader weigh
    std::uint64_t object_cache_misses = 0;   // objects decoded, as they were not kept
    std::uint64_t repaired_claims = 0;       // claims made or removed, as the Services have it
};

// Thread-safe. The store outlives it.
class Api {
public:
    virtual ~Api() = default;
    // True for paths of resources, /api/v1/... and /apis/G/V/... beyond the group version itself.
    [[nodiscard]] virtual bool handles(const std::string& path) const = 0;
    virtual void handle(std::shared_ptr<const http::Request> request,
                        std::shared_ptr<http::Responder> responder) = 0;
    // One object as it now is, for servers of subresources that are not objects (log, exec, port-forward). The
    // namespace is empty for cluster-scoped kinds. kNotFound when there is none, in the words of the 404; kDataLoss
    // when the stored bytes cannot be read. Costs one indexed read; may be called on any thread.
    [[nodiscard]] virtual Result<std::shared_ptr<const google::protobuf::Message>> read(
        const codec::KindInfo& kind, const std::string& name_space, const std::string& name) {
        (void)kind;
        // An Api over no store has no objects.
        return make_error(Code::kNotFound, "\"{}\" not found in namespace \"{}\"", name,
                          name_space);
    }
    // Tells the observer of every object of the kind before it returns, and of each change afterwards. hold: a write
    // through this Api is acknowledged once the observer has seen it. kUnimplemented over no store.
    virtual Result<std::unique_ptr<Observation>> observe(const codec::KindInfo& kind, bool hold,
                                                         Observer observer) {
        (void)hold;
        (void)observer;
        return make_error(Code::kUnimplemented, "{} cannot be observed", kind_name(kind));
    }
    // Writes one object for this process itself, past authorization and admission; `done` on any thread. status: what
    // the subresource status changes, and nothing else.
    virtual void amend(const codec::KindInfo& kind, const std::string& name_space,
                       const std::string& name, Amend change,
                       std::function<void(Result<void>)> done, bool status = false) {
        (void)name_space;
        (void)name;
        (void)change;
        (void)status;
        done(make_error(Code::kUnimplemented, "{} cannot be written", kind_name(kind)));
    }
    // Who is asked about every write of a client from now on; null: nobody. It outlives the Api's requests.
    virtual void set_admission(const Admission* admission) { (void)admission; }
    // Asks servers outside, if any are to be asked, whether a client may connect to a Pod (exec, attach, portforward),
    // and refuses the request, or calls go_on: on this thread, or on another one.
    virtual void admit_connection(std::shared_ptr<const http::Request> request,
                                  std::shared_ptr<http::Responder> responder, std::function<void()> go_on) {
        (void)request;
        (void)responder;
        go_on();
    }
    // Asks servers outside, if any are to be asked, about something that is posted and not stored (rest/posting.h), and
    // has it answered: on this thread, or on another one.
    virtual void admit_posted(std::shared_ptr<const http::Request> request,
                              std::shared_ptr<http::Responder> responder, Posted posted,
                              std::function<void(PostedAdmission& admission)> answer);
    // Tells the listener of all custom kinds that are served, now and after each change; one call at a time, on any
    // thread. Once, before requests come.
    virtual void on_custom_kinds(CustomListener listener) { listener({}); }
    // Counts the objects of each kind: some milliseconds for 100,000 of them.
    [[nodiscard]] virtual ApiFigures figures() const { return {}; }
    // Prometheus text about what is counted beside the figures.
    [[nodiscard]] virtual std::string metrics() const { return {}; }
    // Ends all watches; later requests get 503.
    virtual void shutdown() = 0;

protected:
    [[nodiscard]] static std::string kind_name(const codec::KindInfo& kind);
};

// Reads the store's allocations, makes what a cluster starts with (the namespaces default, kube-system, kube-public,
// kube-node-lease; the Service default/kubernetes) and is then ready to serve.
Result<std::unique_ptr<Api>> make_api(store::Store& store, const ApiOptions& options);

}  // namespace sluice::registry
