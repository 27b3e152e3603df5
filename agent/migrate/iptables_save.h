// What a kube-proxy left in iptables, told from the text of iptables-save; and the text for iptables-restore that
// removes exactly that. Pure.
//
// Ours to remove are the chains that only kube-proxy makes, and the jumps to its entry chains from built-in ones. The
// kubelet's chains (KUBE-FIREWALL, KUBE-KUBELET-CANARY, KUBE-IPTABLES-HINT) stay, as do all others' rules. A chain of
// kube-proxy's that somebody else's rule refers to stays with all that it leads to: without it that rule would change.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "api/base/result.h"

namespace sluice::migrate {

// Limits: beyond them the text is refused, and nothing is removed.
inline constexpr std::size_t kMaxChains = 2'000'000;
inline constexpr std::size_t kMaxForeignRules = 100'000;  // rules of others that refer to kube-proxy's chains
inline constexpr std::size_t kMaxLineBytes = 64U << 10U;

[[nodiscard]] bool is_kube_proxy_chain(std::string_view table, std::string_view chain);

struct SavedTable {
    std::string name;                 // "nat"
    std::set<std::string> chains;     // kube-proxy's
    std::uint64_t rules = 0;          // in them
    std::vector<std::string> jumps;   // "-A PREROUTING ...": kube-proxy's rules in built-in chains
    std::vector<std::string> foreign; // others' rules that refer to its chains
    // Which of its chains each of its chains leads to.
    std::map<std::string, std::set<std::string>> leads;

    [[nodiscard]] bool empty() const { return chains.empty() && jumps.empty(); }
};

// Takes the text piece by piece, as it comes from the program: that of a large node is a hundred megabytes.
class SaveReader {
public:
    Result<void> feed(std::string_view piece);
    // After the last piece. Tables without anything of kube-proxy's are left out.
    Result<std::vector<SavedTable>> finish();

private:
    Result<void> line(std::string_view text);
    Result<void> rule(std::string_view text);

    std::string partial_;
    std::vector<SavedTable> tables_;
    bool inside_ = false;
    bool complete_ = true;  // every table has ended with COMMIT
};

struct Removal {
    std::string restore;             // for iptables-restore --noflush; empty: nothing to do
    std::vector<std::string> words;  // what goes, for people
    std::vector<std::string> kept;   // what stays, and because of whom
};
[[nodiscard]] Removal plan_removal(const SavedTable& table);

}  // namespace sluice::migrate
