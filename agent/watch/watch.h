// What the agent follows at the API server: Services, EndpointSlices, its own Node and the ServiceCIDRs, one thread
// each, their changes in one queue for the one thread that compiles. Beside them a thread that waits for
// changes of the machine's links.
#pragma once

#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "api/base/result.h"
#include "api/client/client.h"
#include "api/client/queue.h"
#include "api/client/reflector.h"

namespace sluice::watch {

// Changes that may wait for the compile thread; beyond them the watches are read no further.
inline constexpr std::size_t kMaxQueuedChanges = 20'000;

struct LinksChanged {};
using Event = std::variant<client::Batch, LinksChanged>;
using EventQueue = client::Queue<Event>;

// The kinds, by address: what Batch::kind points to.
[[nodiscard]] const codec::KindInfo& services_kind();
[[nodiscard]] const codec::KindInfo& endpoint_slices_kind();
[[nodiscard]] const codec::KindInfo& nodes_kind();
[[nodiscard]] const codec::KindInfo& service_cidrs_kind();

// What is asked of the server for each kind.
[[nodiscard]] client::Selection services_selection();
[[nodiscard]] client::Selection endpoint_slices_selection();
[[nodiscard]] client::Selection node_selection(const std::string& node_name);

struct WatchOptions {
    std::string node_name;
    bool service_cidrs = true;  // false: they are given by flag
};

// The running threads. Destroying it ends them.
class Watches {
public:
    virtual ~Watches() = default;
    // client and queue outlive it.
    static std::unique_ptr<Watches> start(client::Client& client, EventQueue& queue,
                                          const WatchOptions& options);
    // Nodes only, for the network of pods.
    static std::unique_ptr<Watches> follow_nodes(client::Client& client, EventQueue& queue,
                                                 client::Selection selection);
};

// Puts LinksChanged into the queue when links, addresses or routes of the calling thread's network namespace may have
// changed, at most once in kLinkSettleMs: a pod's start is a burst of messages. Once started it tries for ever.
inline constexpr int kLinkSettleMs = 20;
Result<std::unique_ptr<Watches>> watch_links(EventQueue& queue);

}  // namespace sluice::watch
