#include "dataplane/image/drop_reasons.h"

#include "api/abi/drop_reasons.h"

namespace sluice::image {
namespace {

struct Reason {
    const char* name;
    const char* text;
};
#define SLUICE_DROP_REASON_ENTRY(enumerator, name, text) {name, text},
constexpr Reason kReasons[] = {SLUICE_DROP_REASONS(SLUICE_DROP_REASON_ENTRY)};
#undef SLUICE_DROP_REASON_ENTRY

}  // namespace

const char* drop_name(std::uint32_t reason) {
    return reason < SLUICE_DROP_REASON_COUNT ? kReasons[reason].name : "unknown";
}

const char* drop_text(std::uint32_t reason) {
    return reason < SLUICE_DROP_REASON_COUNT ? kReasons[reason].text
                                             : "a reason that this program does not know";
}

}  // namespace sluice::image
