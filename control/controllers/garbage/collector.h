// The garbage collector's decisions: looks at one object after another, asks the API server before
// it deletes anything, and never deletes what has an owner that lives.
//
// Level driven: look_at(uid) may be called any number of times, in any order.
#pragma once

#include <functional>
#include <mutex>
#include <list>
#include <string>
#include <unordered_map>

#include "control/controllers/garbage/graph.h"
#include "control/controllers/garbage/types.h"

namespace sluice::controllers::garbage {

// Owners that are known to be gone, so that a thousand dependents do not ask a thousand times. Uids
// are never used again.
inline constexpr std::size_t kMaxAbsentOwners = 10'000;

// Thread-safe for different uids.
class Collector {
public:
    // enqueue is called with uids to be looked at; must not call back.
    Collector(ObjectApi& api, std::function<void(const std::string& uid)> enqueue)
        : api_(api), graph_(std::move(enqueue)) {}

    Graph& graph() { return graph_; }
    // An error: to be tried again.
    Result<void> look_at(const std::string& uid);

private:
    struct Owners {
        bool solid = false;                 // one lives, or cannot be looked for
        std::vector<std::string> dangling;  // uids of those that are gone
        std::vector<std::string> waiting;   // of those that go once their dependents have gone
    };
    Result<Owners> classify(const Facts& facts);
    Result<void> look_at_virtual(const Facts& facts);
    // The owner's dependents, freed of it.
    Result<void> orphan_dependents(const Facts& owner);
    Result<void> finish_foreground(const Facts& owner);
    Result<void> collect(const Facts& facts);
    bool is_absent(const std::string& uid);
    void remember_absent(const std::string& uid);

    ObjectApi& api_;
    Graph graph_;
    std::mutex mutex_;  // guards absent_ and absent_order_
    std::list<std::string> absent_order_;
    std::unordered_map<std::string, std::list<std::string>::iterator> absent_;
};

}  // namespace sluice::controllers::garbage
