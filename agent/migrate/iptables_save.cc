// See iptables_save.h.
#include "agent/migrate/iptables_save.h"

#include <algorithm>
#include <array>

namespace sluice::migrate {
namespace {

struct Name {
    std::string_view table;  // empty: in any
    std::string_view chain;
};

// Of the iptables mode and of what the IPVS mode adds.
constexpr Name kNames[] = {
    {"", "KUBE-PROXY-CANARY"},
    {"", "KUBE-SERVICES"},
    {"", "KUBE-EXTERNAL-SERVICES"},
    {"", "KUBE-NODEPORTS"},
    {"nat", "KUBE-POSTROUTING"},
    {"nat", "KUBE-MARK-MASQ"},
    {"nat", "KUBE-LOAD-BALANCER"},
    {"nat", "KUBE-NODE-PORT"},
    {"nat", "KUBE-FIREWALL"},  // of the IPVS mode; the kubelet's is in filter
    {"filter", "KUBE-FORWARD"},
    {"filter", "KUBE-PROXY-FIREWALL"},
    {"filter", "KUBE-NODE-PORT"},
    {"filter", "KUBE-SOURCE-RANGES-FIREWALL"},
    {"filter", "KUBE-IPVS-FILTER"},
    {"filter", "KUBE-IPVS-OUT-FILTER"},
};
// One of each for a service port or endpoint; a hash follows.
constexpr std::string_view kPrefixes[] = {"KUBE-SVC-", "KUBE-SVL-", "KUBE-SEP-",
                                          "KUBE-EXT-", "KUBE-FW-",  "KUBE-XLB-"};
// Those that kube-proxy jumps to from built-in chains.
constexpr std::string_view kEntries[] = {
    "KUBE-SERVICES",       "KUBE-EXTERNAL-SERVICES", "KUBE-NODEPORTS",   "KUBE-POSTROUTING",
    "KUBE-FORWARD",        "KUBE-PROXY-FIREWALL",    "KUBE-NODE-PORT",   "KUBE-IPVS-FILTER",
    "KUBE-IPVS-OUT-FILTER"};
constexpr std::string_view kBuiltIn[] = {"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"};

template <class Range>
bool has(const Range& range, std::string_view word) {
    return std::find(std::begin(range), std::end(range), word) != std::end(range);
}

// The next word of a rule; quoted texts (comments) count as one.
std::string_view next_word(std::string_view* text) {
    text->remove_prefix(std::min(text->find_first_not_of(' '), text->size()));
    std::size_t end = 0;
    bool quoted = false;
    for (; end < text->size(); ++end) {
        const char c = (*text)[end];
        if (c == '\\' && quoted) {
            ++end;
        } else if (c == '"') {
            quoted = !quoted;
        } else if (c == ' ' && !quoted) {
            break;
        }
    }
    end = std::min(end, text->size());
    const std::string_view word = text->substr(0, end);
    text->remove_prefix(end);
    return word;
}

struct RuleParts {
    std::string_view chain;
    std::string_view target;  // of -j or -g
};

// "-A CHAIN ... -j TARGET ..."; a target that comes later than another word of that kind counts.
RuleParts parts_of(std::string_view rule) {
    RuleParts out;
    next_word(&rule);
    out.chain = next_word(&rule);
    while (!rule.empty()) {
        const auto word = next_word(&rule);
        if (word == "-j" || word == "-g" || word == "--jump" || word == "--goto") {
            out.target = next_word(&rule);
            break;
        }
    }
    return out;
}

}  // namespace

bool is_kube_proxy_chain(std::string_view table, std::string_view chain) {
    for (const Name& name : kNames) {
        if (chain == name.chain && (name.table.empty() || name.table == table)) return true;
    }
    // They translate addresses, which only nat does.
    if (table != "nat") return false;
    return std::any_of(std::begin(kPrefixes), std::end(kPrefixes), [&](std::string_view prefix) {
        return chain.starts_with(prefix) && chain.size() > prefix.size();
    });
}

Result<void> SaveReader::feed(std::string_view piece) {
    while (!piece.empty()) {
        const auto newline = piece.find('\n');
        if (partial_.size() + std::min(newline, piece.size()) > kMaxLineBytes) {
            return make_error(Code::kResourceExhausted, "a line of iptables-save is longer than {} bytes",
                              kMaxLineBytes);
        }
        if (newline == std::string_view::npos) {
            partial_.append(piece);
            return {};
        }
        if (partial_.empty()) {
            SLUICE_TRY(line(piece.substr(0, newline)));
        } else {
            partial_.append(piece.substr(0, newline));
            SLUICE_TRY(line(partial_));
            partial_.clear();
        }
        piece.remove_prefix(newline + 1);
    }
    return {};
}

Result<void> SaveReader::line(std::string_view text) {
    if (text.empty() || text.front() == '#') return {};
    if (text.front() == '*') {
        tables_.push_back({std::string(text.substr(1)), {}, 0, {}, {}, {}});
        inside_ = true;
        complete_ = false;
        return {};
    }
    if (!inside_) {
        return make_error(Code::kInvalidArgument, "\"{}\" stands outside of a table", text.substr(0, 80));
    }
    if (text == "COMMIT") {
        inside_ = false;
        complete_ = true;
        return {};
    }
    SavedTable& table = tables_.back();
    if (text.front() == ':') {
        const auto name = text.substr(1, text.find(' ') - 1);
        if (is_kube_proxy_chain(table.name, name)) table.chains.emplace(name);
        if (table.chains.size() > kMaxChains) {
            return make_error(Code::kResourceExhausted, "kube-proxy has more than {} chains in table {}",
                              kMaxChains, table.name);
        }
        return {};
    }
    if (text.starts_with("-A ")) return rule(text);
    return make_error(Code::kInvalidArgument, "\"{}\" is no line of iptables-save", text.substr(0, 80));
}

Result<void> SaveReader::rule(std::string_view text) {
    SavedTable& table = tables_.back();
    const auto [chain, target] = parts_of(text);
    const bool to_theirs = is_kube_proxy_chain(table.name, target);
    if (is_kube_proxy_chain(table.name, chain)) {
        ++table.rules;
        if (to_theirs) table.leads[std::string(chain)].emplace(target);
    } else if (to_theirs) {
        const bool theirs = has(kBuiltIn, chain) && has(kEntries, target);
        auto& list = theirs ? table.jumps : table.foreign;
        list.emplace_back(text);
        if (list.size() > kMaxForeignRules) {
            return make_error(Code::kResourceExhausted, "more than {} rules of table {} lead to kube-proxy's chains",
                              kMaxForeignRules, table.name);
        }
    }
    return {};
}

Result<std::vector<SavedTable>> SaveReader::finish() {
    if (!partial_.empty() || !complete_) {
        return make_error(Code::kDataLoss, "the text of iptables-save ends in the middle");
    }
    std::erase_if(tables_, [](const SavedTable& table) { return table.empty(); });
    return std::move(tables_);
}

Removal plan_removal(const SavedTable& table) {
    Removal out;
    // What others' rules refer to, and all that follows from there.
    std::set<std::string> kept;
    std::vector<std::string> open;
    for (const std::string& rule : table.foreign) {
        const std::string target(parts_of(rule).target);
        open.push_back(target);
        out.kept.push_back(fmt::format("{} {}: used by \"{}\"", table.name, target, rule));
    }
    while (!open.empty()) {
        const std::string chain = std::move(open.back());
        open.pop_back();
        if (!kept.insert(chain).second) continue;
        if (const auto next = table.leads.find(chain); next != table.leads.end()) {
            open.insert(open.end(), next->second.begin(), next->second.end());
        }
        // The mark that one sets is the other's work.
        if (chain == "KUBE-MARK-MASQ") open.emplace_back("KUBE-POSTROUTING");
    }

    std::string flushed, removed;
    std::size_t chains = 0;
    for (const std::string& chain : table.chains) {
        if (kept.contains(chain)) continue;
        flushed += fmt::format(":{} - [0:0]\n", chain);
        removed += fmt::format("-X {}\n", chain);
        ++chains;
    }
    std::string unlinked;
    for (const std::string& jump : table.jumps) {
        if (kept.contains(std::string(parts_of(jump).target))) continue;
        // As it was saved, but -D for -A.
        unlinked += "-D" + jump.substr(2) + "\n";
        out.words.push_back(fmt::format("{} rule {}", table.name, jump));
    }
    if (chains > 0) {
        out.words.push_back(fmt::format("{} {} of kube-proxy in table {}", chains,
                                        chains == 1 ? "chain" : "chains", table.name));
    }
    if (chains > 0 || !unlinked.empty()) {
        out.restore = fmt::format("*{}\n{}{}{}COMMIT\n", table.name, flushed, unlinked, removed);
    }
    return out;
}

}  // namespace sluice::migrate
