#include "control/apiserver/flowcontrol/defaults.h"

#include "api/kubernetes/flowcontrol/v1/flowcontrol.pb.h"
#include "control/apiserver/flowcontrol/from_object.h"
#include "control/apiserver/registry/defaults/defaults.h"

namespace sluice::flowcontrol {
namespace {

// A fixed UID for an object that nobody stored: the name's FNV-1a hash in the form of a name-based UUID.
std::string uid_of(const std::string& kind, const std::string& name) {
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string out;
    std::uint64_t hash = 0xcbf29ce484222325U;
    const std::string text = kind + "/" + name;
    for (int half = 0; half < 2; ++half) {
        for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
        for (unsigned shift = 0; shift < 64; shift += 4) out += kDigits[(hash >> shift) & 15U];
    }
    out[12] = '5';
    out[16] = 'a';
    for (const std::size_t at : {8U, 13U, 18U, 23U}) out.insert(at, 1, '-');
    return out;
}

}  // namespace

Configuration defaults() {
    Configuration out;
    for (const auto& object : registry::default_priority_levels()) {
        out.levels.push_back(from_object(object));
        out.levels.back().uid = uid_of("PriorityLevelConfiguration", out.levels.back().name);
    }
    for (const auto& object : registry::default_flow_schemas()) {
        out.schemas.push_back(from_object(object));
        out.schemas.back().uid = uid_of("FlowSchema", out.schemas.back().name);
    }
    return out;
}

}  // namespace sluice::flowcontrol
