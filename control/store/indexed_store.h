// What stores have in common that keep all they serve in an Index: reads never leave memory, and what
// a write must be like.
#pragma once

#include "control/store/index.h"
#include "control/store/store.h"

namespace sluice::store {

inline std::size_t companion_bytes(const std::vector<Companion>& also) {
    std::size_t bytes = 0;
    for (const Companion& other : also) {
        bytes += other.key.size() + (other.value ? other.value->size() : 0);
    }
    return bytes;
}

// Why a write is not one that any store takes; nullopt: it is.
std::optional<std::string> fault_of(const Write& write);

class IndexedStore : public Store {
public:
    [[nodiscard]] Revision revision() const final { return index_.revision(); }
    [[nodiscard]] Revision compacted() const final { return index_.compacted(); }
    [[nodiscard]] Result<std::optional<KeyValue>> get(std::string_view key,
                                                      Revision at) const final {
        return index_.get(key, at);
    }
    [[nodiscard]] Result<RangeResult> range(std::string_view prefix, std::string_view after,
                                            std::uint64_t limit, Revision at) const final {
        return index_.range(prefix, after, limit, at);
    }

protected:
    // compacted: where the index begins.
    explicit IndexedStore(Revision compacted) : index_(compacted) {}

    Index index_;
};

}  // namespace sluice::store
