#include "control/controllers/garbage/graph.h"

#include <algorithm>

namespace sluice::controllers::garbage {

std::string Coordinates::to_string() const {
    return api_version + " " + kind + " " +
           (namespace_name.empty() ? name : namespace_name + "/" + name);
}

void Graph::link(const Facts& facts) {
    for (const auto& owner : facts.owners) {
        auto [entry, fresh] = nodes_.try_emplace(owner.uid);
        Node& node = entry->second;
        node.dependents.insert(facts.uid);
        if (!fresh) continue;
        node.is_virtual = true;
        node.facts.uid = owner.uid;
        // References name no namespace: an owner is looked for in the namespace of what it owns.
        node.facts.where = {owner.api_version, owner.kind, facts.where.namespace_name, owner.name};
        look_at_(owner.uid);
    }
}

void Graph::drop_if_unused(const std::string& uid) {
    const auto found = nodes_.find(uid);
    if (found != nodes_.end() && found->second.is_virtual && found->second.dependents.empty()) {
        nodes_.erase(found);
    }
}

void Graph::unlink(const Facts& facts) {
    for (const auto& owner : facts.owners) {
        const auto found = nodes_.find(owner.uid);
        if (found == nodes_.end()) continue;
        found->second.dependents.erase(facts.uid);
        // An owner that waits for its dependents has one less to wait for.
        if (found->second.facts.deleting) look_at_(owner.uid);
        drop_if_unused(owner.uid);
    }
}

void Graph::upsert(const Facts& facts) {
    const std::scoped_lock lock(mutex_);
    auto [entry, fresh] = nodes_.try_emplace(facts.uid);
    Node& node = entry->second;
    const bool was_virtual = !fresh && node.is_virtual;
    const Facts before = std::move(node.facts);
    node.facts = facts;
    node.is_virtual = false;
    if (fresh || was_virtual || before.owners != facts.owners) {
        // References may stay; objects do not move between them and the rest.
        std::vector<Owner> gone;
        if (!fresh && !was_virtual) {
            for (const auto& owner : before.owners) {
                const bool kept =
                    std::any_of(facts.owners.begin(), facts.owners.end(), [&](const Owner& other) {
                        return other.uid == owner.uid && other.blocks == owner.blocks;
                    });
                if (!kept) gone.push_back(owner);
            }
        }
        Facts old;
        old.uid = facts.uid;
        old.owners = std::move(gone);
        unlink(old);
        link(facts);
        if (!facts.owners.empty()) look_at_(facts.uid);
    }
    // Whoever is referred to as something that it is not, or elsewhere, has dependents to be looked
    // at.
    if (was_virtual && before.where != facts.where) {
        for (const auto& dependent : nodes_.at(facts.uid).dependents) look_at_(dependent);
    }
    if (facts.deleting) {
        look_at_(facts.uid);
        // In the foreground, dependents go first.
        if (facts.foreground && !(before.deleting && before.foreground)) {
            for (const auto& dependent : nodes_.at(facts.uid).dependents) look_at_(dependent);
        }
        for (const auto& owner : facts.owners) {
            const auto found = nodes_.find(owner.uid);
            if (found != nodes_.end() && found->second.facts.deleting) look_at_(owner.uid);
        }
    }
}

void Graph::erase(const std::string& uid) {
    const std::scoped_lock lock(mutex_);
    const auto found = nodes_.find(uid);
    if (found == nodes_.end() || found->second.is_virtual) return;
    const Facts facts = std::move(found->second.facts);
    const auto dependents = std::move(found->second.dependents);
    nodes_.erase(found);
    unlink(facts);
    for (const auto& dependent : dependents) look_at_(dependent);
}

void Graph::erase_virtual(const std::string& uid) {
    const std::scoped_lock lock(mutex_);
    const auto found = nodes_.find(uid);
    if (found == nodes_.end() || !found->second.is_virtual) return;
    const auto dependents = std::move(found->second.dependents);
    nodes_.erase(found);
    for (const auto& dependent : dependents) look_at_(dependent);
}

void Graph::look_at_kind(const std::string& group, const std::string& kind) {
    const std::scoped_lock lock(mutex_);
    for (const auto& [uid, node] : nodes_) {
        const auto& where = node.facts.where;
        if (!node.is_virtual || where.kind != kind) continue;
        if (where.api_version.substr(0, where.api_version.find('/')) != group) continue;
        look_at_(uid);
        for (const auto& dependent : node.dependents) look_at_(dependent);
    }
}

std::optional<Graph::View> Graph::find(const std::string& uid) const {
    const std::scoped_lock lock(mutex_);
    const auto found = nodes_.find(uid);
    if (found == nodes_.end()) return std::nullopt;
    return View{found->second.facts, found->second.is_virtual};
}

std::vector<Facts> Graph::dependents(const std::string& uid) const {
    const std::scoped_lock lock(mutex_);
    std::vector<Facts> out;
    const auto found = nodes_.find(uid);
    if (found == nodes_.end()) return out;
    for (const auto& dependent : found->second.dependents) {
        const auto node = nodes_.find(dependent);
        if (node != nodes_.end() && !node->second.is_virtual) out.push_back(node->second.facts);
    }
    return out;
}

std::vector<Owner> Graph::owners_elsewhere(const Facts& facts) const {
    const std::scoped_lock lock(mutex_);
    std::vector<Owner> out;
    for (const auto& owner : facts.owners) {
        const auto found = nodes_.find(owner.uid);
        if (found == nodes_.end() || found->second.is_virtual) continue;
        const auto& where = found->second.facts.where;
        if (!where.namespace_name.empty() && where.namespace_name != facts.where.namespace_name) {
            out.push_back(owner);
        }
    }
    return out;
}

std::size_t Graph::size() const {
    const std::scoped_lock lock(mutex_);
    return nodes_.size();
}

}  // namespace sluice::controllers::garbage
