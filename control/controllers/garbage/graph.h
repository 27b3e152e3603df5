// Who owns whom, as the watches tell it. Thread-safe.
//
// An owner that nobody has seen yet has a virtual node: something refers to it, and whether it
// exists is to be asked.
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "control/controllers/garbage/types.h"

namespace sluice::controllers::garbage {

class Graph {
public:
    // look_at is called, under the graph's lock, with the uid of every object that must be looked
    // at; it must not call back.
    explicit Graph(std::function<void(const std::string& uid)> look_at)
        : look_at_(std::move(look_at)) {}

    // An object was seen, or seen to have changed.
    void upsert(const Facts& facts);
    // An object is gone.
    void erase(const std::string& uid);
    // A virtual node turned out to be nothing: its dependents are looked at. No effect on one that
    // was seen meanwhile.
    void erase_virtual(const std::string& uid);

    // Objects of the kind can be looked for since a moment ago: those that something refers to and nobody has seen are
    // looked at, and what refers to them.
    void look_at_kind(const std::string& group, const std::string& kind);

    struct View {
        Facts facts;
        bool is_virtual = false;
    };
    [[nodiscard]] std::optional<View> find(const std::string& uid) const;
    // Real ones only.
    [[nodiscard]] std::vector<Facts> dependents(const std::string& uid) const;
    // Owner references of a seen object that point to a namespaced object elsewhere.
    [[nodiscard]] std::vector<Owner> owners_elsewhere(const Facts& facts) const;
    [[nodiscard]] std::size_t size() const;

private:
    struct Node {
        Facts facts;
        bool is_virtual = false;
        std::set<std::string> dependents;  // uids
    };
    void link(const Facts& facts);
    void unlink(const Facts& facts);
    // Nodes that nobody refers to and nobody has seen.
    void drop_if_unused(const std::string& uid);

    std::function<void(const std::string&)> look_at_;
    mutable std::mutex mutex_;
    std::unordered_map<std::string, Node> nodes_;  // by uid
};

}  // namespace sluice::controllers::garbage
