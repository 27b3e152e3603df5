#include "control/controllers/endpointslice/packing.h"

#include <google/protobuf/util/message_differencer.h>

#include <algorithm>
#include <iterator>
#include <set>
#include <utility>

namespace sluice::controllers::endpoints {
namespace {

using google::protobuf::util::MessageDifferencer;

// An endpoint of two versions of a list is the same one when it is the same pod under the same name
// and address.
std::string identity(const discoveryv1::Endpoint& endpoint) {
    std::string out;
    for (const auto& address : endpoint.addresses()) out += address + ",";
    return out + "|" + endpoint.hostname() + "|" + endpoint.targetref().uid() + "|" +
           endpoint.targetref().namespace_() + "/" + endpoint.targetref().name();
}

// Other than in hints, which are not wanted yet.
bool equals(const discoveryv1::Endpoint& present, const discoveryv1::Endpoint& wanted) {
    if (!present.has_hints()) return MessageDifferencer::Equals(present, wanted);
    discoveryv1::Endpoint without = present;
    without.clear_hints();
    return MessageDifferencer::Equals(without, wanted);
}

template <class Map>
bool same(const Map& present, const std::map<std::string, std::string>& wanted) {
    if (static_cast<std::size_t>(present.size()) != wanted.size()) return false;
    return std::all_of(wanted.begin(), wanted.end(), [&](const auto& item) {
        const auto found = present.find(item.first);
        return found != present.end() && found->second == item.second;
    });
}

bool has_metadata_of(const SliceTemplate& pattern, const Slice& slice) {
    return same(slice.metadata().labels(), pattern.labels) &&
           (!pattern.annotations || same(slice.metadata().annotations(), *pattern.annotations));
}

void apply_metadata(const SliceTemplate& pattern, Slice* slice) {
    auto* meta = slice->mutable_metadata();
    meta->clear_labels();
    for (const auto& [key, value] : pattern.labels) (*meta->mutable_labels())[key] = value;
    if (!pattern.annotations) return;
    meta->clear_annotations();
    for (const auto& [key, value] : *pattern.annotations) {
        (*meta->mutable_annotations())[key] = value;
    }
}

Slice new_slice(const SliceTemplate& pattern, const std::string& address_type,
                const std::vector<discoveryv1::EndpointPort>& ports) {
    Slice slice;
    auto* meta = slice.mutable_metadata();
    meta->set_namespace_(pattern.namespace_name);
    meta->set_generatename(pattern.generate_name);
    *meta->add_ownerreferences() = pattern.owner;
    apply_metadata(pattern, &slice);
    slice.set_addresstype(address_type);
    for (const auto& port : ports) *slice.add_ports() = port;
    return slice;
}

// One group of ports on its way into slices.
class GroupPacker {
public:
    GroupPacker(const SliceTemplate& pattern, const std::string& address_type, const Group& group,
                std::size_t max_endpoints)
        : pattern_(pattern), address_type_(address_type), group_(group), max_(max_endpoints) {
        for (const auto& endpoint : group.endpoints) {
            if (wanted_.emplace(identity(endpoint), &endpoint).second) {
                order_.push_back(identity(endpoint));
            }
        }
    }

    Changes run(const std::vector<SlicePtr>& existing) {
        for (const auto& slice : existing) keep_what_is_wanted(slice);
        fill_changed();
        fill_one_unchanged();
        create_rest();
        return std::move(changes_);
    }

private:
    void keep_what_is_wanted(const SlicePtr& slice) {
        Slice next = *slice;
        next.clear_endpoints();
        bool changed = !has_metadata_of(pattern_, *slice);
        for (const auto& endpoint : slice->endpoints()) {
            const auto found = wanted_.find(identity(endpoint));
            if (found == wanted_.end()) {
                changed = true;  // it has gone, or stands in an earlier slice already
                continue;
            }
            if (!equals(endpoint, *found->second)) changed = true;
            *next.add_endpoints() = *found->second;
            wanted_.erase(found);
        }
        if (next.endpoints().empty()) {
            changes_.remove.push_back(slice);
        } else if (changed) {
            apply_metadata(pattern_, &next);
            changes_.update.push_back(std::move(next));
        } else {
            unchanged_.push_back(slice);
        }
    }

    // Moves endpoints that have no slice yet into this one.
    void fill(Slice* slice) {
        while (static_cast<std::size_t>(slice->endpoints_size()) < max_ && !wanted_.empty()) {
            while (!wanted_.contains(order_[next_])) ++next_;
            *slice->add_endpoints() = *wanted_.at(order_[next_]);
            wanted_.erase(order_[next_]);
        }
    }

    void fill_changed() {
        // The fullest first: they reach the limit, and the others may run empty one day.
        std::stable_sort(changes_.update.begin(), changes_.update.end(),
                         [](const Slice& a, const Slice& b) {
                             return a.endpoints_size() > b.endpoints_size();
                         });
        for (auto& slice : changes_.update) fill(&slice);
    }

    void fill_one_unchanged() {
        if (wanted_.empty() || wanted_.size() >= max_) return;
        const SlicePtr* best = nullptr;
        for (const auto& slice : unchanged_) {
            const auto size = static_cast<std::size_t>(slice->endpoints_size());
            if (size + wanted_.size() > max_) continue;
            if (best == nullptr || slice->endpoints_size() > (*best)->endpoints_size()) {
                best = &slice;
            }
        }
        if (best == nullptr) return;
        changes_.update.push_back(**best);
        Slice& slice = changes_.update.back();
        for (auto& endpoint : *slice.mutable_endpoints()) endpoint.clear_hints();
        fill(&slice);
    }

    void create_rest() {
        while (!wanted_.empty()) {
            changes_.create.push_back(new_slice(pattern_, address_type_, group_.ports));
            fill(&changes_.create.back());
        }
    }

    const SliceTemplate& pattern_;
    const std::string& address_type_;
    const Group& group_;
    const std::size_t max_;
    std::map<std::string, const discoveryv1::Endpoint*> wanted_;  // those without a slice
    std::vector<std::string> order_;
    std::size_t next_ = 0;
    std::vector<SlicePtr> unchanged_;
    Changes changes_;
};

// Rewriting a slice is one event to watchers, deleting one and creating another are two.
void reuse_removed(Changes* changes) {
    while (!changes->remove.empty() && !changes->create.empty()) {
        const SlicePtr old = std::move(changes->remove.back());
        changes->remove.pop_back();
        Slice fresh = std::move(changes->create.back());
        changes->create.pop_back();
        Slice next = *old;
        *next.mutable_metadata()->mutable_labels() = fresh.metadata().labels();
        if (fresh.metadata().annotations_size() > 0) {
            *next.mutable_metadata()->mutable_annotations() = fresh.metadata().annotations();
        }
        next.mutable_endpoints()->Swap(fresh.mutable_endpoints());
        next.mutable_ports()->Swap(fresh.mutable_ports());
        changes->update.push_back(std::move(next));
    }
}

std::vector<SlicePtr> without_written(const std::vector<SlicePtr>& existing,
                                      const Changes& changes) {
    std::set<std::string> written;
    for (const auto& slice : changes.update) written.insert(slice.metadata().name());
    for (const auto& slice : changes.remove) written.insert(slice->metadata().name());
    std::vector<SlicePtr> out;
    std::copy_if(existing.begin(), existing.end(), std::back_inserter(out), [&](const auto& slice) {
        return !written.contains(slice->metadata().name());
    });
    return out;
}

}  // namespace

void Changes::append(Changes other) {
    std::move(other.create.begin(), other.create.end(), std::back_inserter(create));
    std::move(other.update.begin(), other.update.end(), std::back_inserter(update));
    std::move(other.remove.begin(), other.remove.end(), std::back_inserter(remove));
    std::move(other.unchanged.begin(), other.unchanged.end(), std::back_inserter(unchanged));
}

Changes pack(const SliceTemplate& pattern, const std::string& address_type, const Groups& desired,
             const std::vector<SlicePtr>& existing, std::size_t max_endpoints) {
    std::map<std::string, std::vector<SlicePtr>> by_ports;
    for (const auto& slice : existing) {
        by_ports[port_key({slice->ports().begin(), slice->ports().end()})].push_back(slice);
    }
    Changes changes;
    for (auto& [key, slices] : by_ports) {
        // A fixed order, so that the same state always gives the same writes.
        std::sort(slices.begin(), slices.end(), [](const SlicePtr& a, const SlicePtr& b) {
            return a->metadata().name() < b->metadata().name();
        });
        if (desired.contains(key)) continue;
        std::move(slices.begin(), slices.end(), std::back_inserter(changes.remove));
        slices.clear();
    }
    for (const auto& [key, group] : desired) {
        changes.append(GroupPacker(pattern, address_type, group, max_endpoints).run(by_ports[key]));
    }
    if (pattern.placeholder && changes.remove.size() == existing.size() && changes.create.empty()) {
        const Slice empty = new_slice(pattern, address_type, {});
        const auto is_placeholder = [&](const SlicePtr& slice) {
            return slice->endpoints().empty() && slice->ports().empty() &&
                   has_metadata_of(pattern, *slice);
        };
        const auto present =
            std::find_if(changes.remove.begin(), changes.remove.end(), is_placeholder);
        if (present != changes.remove.end()) {
            changes.remove.erase(present);
        } else {
            changes.create.push_back(empty);
        }
    }
    reuse_removed(&changes);
    changes.unchanged = without_written(existing, changes);
    return changes;
}

}  // namespace sluice::controllers::endpoints
