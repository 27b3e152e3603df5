// The limits of writes; see indexed_store.h.
#include "control/store/indexed_store.h"

#include <fmt/format.h>

#include <unordered_set>

namespace sluice::store {

namespace {

std::optional<std::string> fault_of(const std::string& key,
                                    const std::optional<std::string>& value) {
    if (key.empty() || key.size() > kMaxKeyBytes) {
        return fmt::format("a key has {} bytes, it must have 1 to {}", key.size(), kMaxKeyBytes);
    }
    if (value && value->size() > kMaxValueBytes) {
        return fmt::format("the value of {} has {} bytes, at most {} are allowed", key,
                           value->size(), kMaxValueBytes);
    }
    return std::nullopt;
}

}  // namespace

std::optional<std::string> fault_of(const Write& write) {
    if (auto fault = fault_of(write.key, write.value)) {
        return fault;
    }
    if (write.also.empty()) {
        return std::nullopt;
    }
    if (write.also.size() > kMaxCompanions) {
        return fmt::format("the write of {} has {} companions, at most {} are allowed", write.key,
                           write.also.size(), kMaxCompanions);
    }
    std::unordered_set<std::string_view> keys{write.key};
    for (const Companion& other : write.also) {
        if (auto fault = fault_of(other.key, other.value)) {
            return fault;
        }
        if (!keys.insert(other.key).second) {
            return fmt::format("the write of {} names the key {} twice", write.key, other.key);
        }
    }
    return std::nullopt;
}

}  // namespace sluice::store
