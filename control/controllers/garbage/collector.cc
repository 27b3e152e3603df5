#include "control/controllers/garbage/collector.h"

#include <algorithm>

namespace sluice::controllers::garbage {

bool Collector::is_absent(const std::string& uid) {
    const std::scoped_lock lock(mutex_);
    return absent_.contains(uid);
}

void Collector::remember_absent(const std::string& uid) {
    const std::scoped_lock lock(mutex_);
    if (absent_.contains(uid)) return;
    absent_order_.push_back(uid);
    absent_[uid] = std::prev(absent_order_.end());
    if (absent_.size() <= kMaxAbsentOwners) return;
    absent_.erase(absent_order_.front());
    absent_order_.pop_front();
}

Result<Collector::Owners> Collector::classify(const Facts& facts) {
    Owners out;
    for (const auto& owner : facts.owners) {
        const auto namespaced = api_.is_namespaced(owner.api_version, owner.kind);
        // A kind that is not served cannot be shown to be gone; a cluster-wide object cannot be
        // owned by one in a namespace, for nothing says in which.
        if (!namespaced || (*namespaced && facts.where.namespace_name.empty())) {
            out.solid = true;
            continue;
        }
        std::optional<Facts> found;
        if (!is_absent(owner.uid)) {
            SLUICE_TRY_ASSIGN(found,
                              api_.get({owner.api_version, owner.kind,
                                        *namespaced ? facts.where.namespace_name : std::string(),
                                        owner.name}));
        }
        if (!found || found->uid != owner.uid) {
            // One that lives in another namespace is not in this one: the reference dangles, but
            // its uid is not gone.
            const auto known = graph_.find(owner.uid);
            if (!known || known->is_virtual) remember_absent(owner.uid);
            out.dangling.push_back(owner.uid);
        } else if (found->deleting && found->foreground) {
            out.waiting.push_back(owner.uid);
        } else {
            out.solid = true;
        }
    }
    return out;
}

Result<void> Collector::look_at_virtual(const Facts& facts) {
    const auto namespaced = api_.is_namespaced(facts.where.api_version, facts.where.kind);
    if (!namespaced || (*namespaced && facts.where.namespace_name.empty())) return {};
    Coordinates where = facts.where;
    if (!*namespaced) where.namespace_name.clear();
    SLUICE_TRY_ASSIGN(const auto found, api_.get(where));
    // The one that exists comes by the watch; and of one that is not there, its dependents may each
    // say where they look for it, so nothing is concluded here.
    if (!found || found->uid != facts.uid) graph_.erase_virtual(facts.uid);
    return {};
}

Result<void> Collector::orphan_dependents(const Facts& owner) {
    for (const auto& dependent : graph_.dependents(owner.uid)) {
        const auto freed = api_.drop_owners(dependent, {owner.uid});
        if (!freed && freed.error().code != Code::kNotFound) return freed;
    }
    const auto done = api_.drop_finalizer(owner, kOrphanFinalizer);
    if (!done && done.error().code != Code::kNotFound) return done;
    return {};
}

Result<void> Collector::finish_foreground(const Facts& owner) {
    for (const auto& dependent : graph_.dependents(owner.uid)) {
        const bool blocks =
            std::any_of(dependent.owners.begin(), dependent.owners.end(), [&](const Owner& ref) {
                return ref.uid == owner.uid && ref.blocks;
            });
        // The dependents themselves were put into the queue when the owner began to wait, and their
        // end or change brings the owner back.
        if (blocks) return {};
    }
    const auto done = api_.drop_finalizer(owner, kForegroundFinalizer);
    if (!done && done.error().code != Code::kNotFound) return done;
    return {};
}

Result<void> Collector::collect(const Facts& facts) {
    SLUICE_TRY_ASSIGN(const Owners owners, classify(facts));
    if (owners.solid) {
        if (owners.dangling.empty() && owners.waiting.empty()) return {};
        // Somebody else keeps it: those who are gone, or wait for it to go, are crossed out.
        std::vector<std::string> uids = owners.dangling;
        uids.insert(uids.end(), owners.waiting.begin(), owners.waiting.end());
        const auto done = api_.drop_owners(facts, uids);
        if (!done && done.error().code != Code::kNotFound) return done;
        return {};
    }
    const auto dependents = graph_.dependents(facts.uid);
    if (!owners.waiting.empty() && !dependents.empty()) {
        // A circle of objects that wait for each other would wait for ever.
        if (std::any_of(dependents.begin(), dependents.end(), [](const Facts& dependent) {
                return dependent.deleting && dependent.foreground;
            })) {
            const auto done = api_.unblock_owners(facts);
            if (!done && done.error().code != Code::kNotFound) return done;
            // The version has changed; its owners' wait is over, and it is looked at again.
            return {};
        }
        return api_.remove(facts, Policy::kForeground);
    }
    return api_.remove(facts, facts.orphan       ? Policy::kOrphan
                              : facts.foreground ? Policy::kForeground
                                                 : Policy::kBackground);
}

Result<void> Collector::look_at(const std::string& uid) {
    const auto view = graph_.find(uid);
    if (!view) return {};
    if (view->is_virtual) return look_at_virtual(view->facts);
    const Facts& known = view->facts;
    if (known.deleting && !known.foreground && !known.orphan) return {};
    if (!known.deleting && known.owners.empty()) return {};
    // The cache may be behind: what is decided is decided on the object as it is.
    SLUICE_TRY_ASSIGN(const auto live, api_.get(known.where));
    if (!live || live->uid != uid) return {};  // the watch will tell
    if (live->deleting) {
        if (live->orphan) return orphan_dependents(*live);
        if (live->foreground) return finish_foreground(*live);
        return {};
    }
    if (live->owners.empty()) return {};
    for (const auto& owner : graph_.owners_elsewhere(*live)) api_.report_invalid_owner(*live, owner);
    return collect(*live);
}

}  // namespace sluice::controllers::garbage
