// The list of all fields and flags, with what becomes of each here. Everything else follows from it: decoding, flags,
// help, /configz, and the tables of docs/kube-proxy-config.md (fields_test compares them).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "agent/config/config.h"
#include "agent/config/values.h"

namespace sluice::config {

enum class Treatment {
    kHonoured,  // it does what it says
    kHolds,     // accepted: what it asks for is so already, or there is nothing that it could act on
    kRefused,   // accepted only at the value kube-proxy has by itself; any other is an error
};
[[nodiscard]] const char* treatment_name(Treatment treatment);

struct Field {
    std::string_view path;  // "iptables.masqueradeBit"; of our own fields the flag's name
    Slot slot;
    Treatment treatment;
    std::string_view flag;   // without dashes; empty: there is none
    std::string_view about;  // one line: what it does here, or why not
};

// The fields of KubeProxyConfiguration, sorted by path. They point into *config.
[[nodiscard]] std::vector<Field> fields(KubeProxyConfig* config);
// Our own, in the order of the help text.
[[nodiscard]] std::vector<Field> own_fields(OwnConfig* config);

// Flags of kube-proxy that stand for no field of ours.
struct LooseFlag {
    std::string_view name;
    Treatment treatment;
    std::string_view about;
};
[[nodiscard]] const std::vector<LooseFlag>& loose_flags();

// The tables of docs/kube-proxy-config.md, in Markdown.
[[nodiscard]] std::string field_table();
[[nodiscard]] std::string flag_table();

}  // namespace sluice::config
