// JSON merge patch (RFC 7386).
#include <boost/json.hpp>
#include <string_view>
#include <unordered_set>
#include <utility>

#include "api/codec/patch.h"

namespace sluice::codec {
namespace json = boost::json;

namespace {

// The algorithm of section 2. The depth is that of the patch, which its parser has bounded.
void merge(json::value* target, const json::value& patch) {
    const json::object* members = patch.if_object();
    if (members == nullptr) {
        *target = patch;
        return;
    }
    if (!target->is_object()) target->emplace_object();
    json::object& object = target->get_object();
    std::unordered_set<std::string_view> removed;
    for (const auto& member : *members) {
        if (!member.value().is_null()) {
            merge(&object[member.key()], member.value());
        } else if (object.contains(member.key())) {
            removed.insert(member.key());
        }
    }
    if (removed.empty()) return;
    // Removed in one pass: erasing members one by one while keeping the order of the rest would
    // cost the square of a large object.
    json::object rest(object.storage());
    rest.reserve(object.size() - removed.size());
    for (auto& member : object) {
        if (!removed.contains(member.key())) rest.emplace(member.key(), std::move(member.value()));
    }
    object = std::move(rest);
}

}  // namespace

Result<void> apply_merge_patch(json::value* target, const json::value& patch) {
    merge(target, patch);
    return {};
}

}  // namespace sluice::codec
