// Any text as what iptables-save prints: pieces of any size give the same plan, which names kube-proxy's chains only.
#include <cstdint>
#include <string>
#include <string_view>

#include "agent/migrate/iptables_save.h"

namespace {

using sluice::migrate::SavedTable;
using sluice::migrate::SaveReader;

sluice::Result<std::vector<SavedTable>> read(std::string_view text, std::size_t piece) {
    SaveReader reader;
    for (std::size_t i = 0; i < text.size(); i += piece) {
        SLUICE_TRY(reader.feed(text.substr(i, piece)));
    }
    return reader.finish();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);  // NOLINT
    const auto whole = read(text, size + 1);
    const auto pieces = read(text, 3);
    SLUICE_ASSERT(whole.has_value() == pieces.has_value());
    if (!whole) return 0;
    for (std::size_t i = 0; i < whole->size(); ++i) {
        const SavedTable& table = (*whole)[i];
        const auto plan = sluice::migrate::plan_removal(table);
        SLUICE_ASSERT(plan.restore == sluice::migrate::plan_removal((*pieces)[i]).restore);
        for (const auto& chain : table.chains) {
            SLUICE_ASSERT(sluice::migrate::is_kube_proxy_chain(table.name, chain));
        }
    }
    return 0;
}
