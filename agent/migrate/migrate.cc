// See migrate.h.
#include "agent/migrate/migrate.h"

#include <algorithm>

#include "agent/migrate/iptables_save.h"

namespace sluice::migrate {
namespace {

constexpr char kDummyLink[] = "kube-ipvs0";
// The newest lock of iptables is waited for, as kube-proxy does.
constexpr char kWaitForLock[] = "--wait=5";

struct Variant {
    const char* mechanism;
    IpFamily family;
    const char* save;
    const char* restore;
    const char* tables;  // names the tables there are, for the legacy variant; null: ask nftables
};
constexpr Variant kVariants[] = {
    {"iptables-legacy", IpFamily::kIpv4, "iptables-legacy-save", "iptables-legacy-restore",
     "/proc/net/ip_tables_names"},
    {"iptables-legacy", IpFamily::kIpv6, "ip6tables-legacy-save", "ip6tables-legacy-restore",
     "/proc/net/ip6_tables_names"},
    {"iptables-nft", IpFamily::kIpv4, "iptables-nft-save", "iptables-nft-restore", nullptr},
    {"iptables-nft", IpFamily::kIpv6, "ip6tables-nft-save", "ip6tables-nft-restore", nullptr},
};

const char* family_name(IpFamily family) { return family == IpFamily::kIpv4 ? "IPv4" : "IPv6"; }
const char* nft_family(IpFamily family) { return family == IpFamily::kIpv4 ? "ip" : "ip6"; }

// Whether any of the lines is this one.
bool has_line(std::string_view text, std::string_view wanted) {
    while (!text.empty()) {
        const auto newline = text.find('\n');
        if (text.substr(0, newline) == wanted) return true;
        text.remove_prefix(newline == std::string_view::npos ? text.size() : newline + 1);
    }
    return false;
}

Result<std::string> nft_tables(const MigrateMachine& machine) { return machine.nftables("list tables"); }

// Whether the variant has tables at all; then nothing has to be started, and no module of the kernel is loaded for it.
Result<bool> in_use(const Variant& variant, const MigrateMachine& machine) {
    if (variant.tables != nullptr) {
        const auto names = machine.read_file(variant.tables);
        if (!names && names.error().code == Code::kNotFound) return false;
        if (!names) return names.error();
        return !names->empty();
    }
    SLUICE_TRY_ASSIGN(const std::string tables, nft_tables(machine));
    for (const char* name : {"nat", "filter", "mangle"}) {
        if (has_line(tables, fmt::format("table {} {}", nft_family(variant.family), name))) return true;
    }
    return false;
}

Result<std::vector<SavedTable>> look(const Variant& variant, const MigrateMachine& machine) {
    SLUICE_TRY_ASSIGN(const bool used, in_use(variant, machine));
    if (!used) return std::vector<SavedTable>{};
    if (!machine.has_program(variant.save)) {
        return make_error(Code::kNotFound, "{} is not installed, and there are {} tables of {}", variant.save,
                          family_name(variant.family), variant.mechanism);
    }
    SaveReader reader;
    SLUICE_TRY(machine.run({variant.save}, "", [&](std::string_view piece) { return reader.feed(piece); }));
    return reader.finish();
}

Trace describe(const Variant& variant, const std::vector<SavedTable>& tables) {
    Trace out{variant.mechanism, variant.family, 0, 0, {}};
    std::string names;
    for (const auto& table : tables) {
        out.chains += table.chains.size();
        out.rules += table.rules + table.jumps.size();
        names += (names.empty() ? "" : ", ") + table.name;
    }
    out.description = fmt::format("{} chains with {} rules in {}", out.chains, out.rules, names);
    return out;
}

// "table ip kube-proxy" for each family that has it.
std::vector<IpFamily> nft_families(std::string_view tables) {
    std::vector<IpFamily> out;
    for (const IpFamily family : {IpFamily::kIpv4, IpFamily::kIpv6}) {
        if (has_line(tables, fmt::format("table {} kube-proxy", nft_family(family)))) out.push_back(family);
    }
    return out;
}

// Virtual servers that are told in /proc/net/ip_vs: lines that begin with their protocol.
std::uint64_t ipvs_servers(const MigrateMachine& machine) {
    const auto text = machine.read_file("/proc/net/ip_vs");
    if (!text) return 0;
    std::uint64_t out = 0;
    std::string_view rest = *text;
    while (!rest.empty()) {
        const auto newline = rest.find('\n');
        const auto line = rest.substr(0, newline);
        for (const char* protocol : {"TCP ", "UDP ", "SCTP "}) out += line.starts_with(protocol) ? 1 : 0;
        rest.remove_prefix(newline == std::string_view::npos ? rest.size() : newline + 1);
    }
    return out;
}

void clean_variant(const Variant& variant, const MigrateMachine& machine, Cleaned* out) {
    const std::string where = fmt::format("{} {}", variant.mechanism, family_name(variant.family));
    const auto tables = look(variant, machine);
    if (!tables) {
        out->failed.push_back(fmt::format("{}: {}", where, tables.error().message));
        return;
    }
    for (const SavedTable& table : *tables) {
        const Removal removal = plan_removal(table);
        for (const auto& kept : removal.kept) out->failed.push_back(fmt::format("{}: {}", where, kept));
        if (removal.restore.empty()) continue;
        std::vector<std::string> words{variant.restore, "--noflush"};
        if (variant.tables != nullptr) words.emplace_back(kWaitForLock);
        if (auto restored = machine.run(words, removal.restore, [](std::string_view) { return Result<void>{}; });
            !restored) {
            out->failed.push_back(fmt::format("{}: table {}: {}", where, table.name, restored.error().message));
            continue;
        }
        for (const auto& word : removal.words) out->removed.push_back(fmt::format("{}: {}", where, word));
    }
}

void clean_nftables(const MigrateMachine& machine, Cleaned* out) {
    const auto tables = nft_tables(machine);
    if (!tables) {
        out->failed.push_back("nftables: " + tables.error().message);
        return;
    }
    std::string commands;
    std::vector<std::string> words;
    for (const IpFamily family : nft_families(*tables)) {
        commands += fmt::format("delete table {} kube-proxy\n", nft_family(family));
        words.push_back(fmt::format("nftables: table {} kube-proxy", nft_family(family)));
    }
    if (commands.empty()) return;
    if (auto deleted = machine.nftables(commands); !deleted) {
        for (const auto& word : words) out->failed.push_back(word + ": " + deleted.error().message);
        return;
    }
    out->removed.insert(out->removed.end(), words.begin(), words.end());
}

}  // namespace

Found find_kube_proxy(const MigrateMachine& machine) {
    Found out;
    for (const Variant& variant : kVariants) {
        const auto tables = look(variant, machine);
        if (!tables) {
            out.unclear.push_back(fmt::format("{} {}: {}", variant.mechanism, family_name(variant.family),
                                              tables.error().message));
        } else if (!tables->empty()) {
            out.traces.push_back(describe(variant, *tables));
        }
    }
    if (const auto tables = nft_tables(machine); !tables) {
        out.unclear.push_back("nftables: " + tables.error().message);
    } else {
        for (const IpFamily family : nft_families(*tables)) {
            out.traces.push_back({"nftables", family, 1, 0, fmt::format("table {} kube-proxy", nft_family(family))});
        }
    }
    const std::uint64_t servers = ipvs_servers(machine);
    if (machine.has_link(kDummyLink)) {
        out.traces.push_back({"ipvs", IpFamily::kIpv4, servers, 0,
                              fmt::format("the link {} and {} virtual servers", kDummyLink, servers)});
    }
    return out;
}

Cleaned clean_up_kube_proxy(const MigrateMachine& machine) {
    Cleaned out;
    for (const Variant& variant : kVariants) clean_variant(variant, machine, &out);
    clean_nftables(machine, &out);
    // Virtual servers may be somebody else's too, and nothing tells which; the link is what makes kube-proxy's answer.
    if (machine.has_link(kDummyLink)) {
        out.failed.push_back(fmt::format(
            "ipvs: the link {} and {} virtual servers are left to you: ip link delete {}; ipvsadm --clear; ipset "
            "destroy, of the sets whose names begin with KUBE-",
            kDummyLink, ipvs_servers(machine), kDummyLink));
    }
    return out;
}

std::string render_metrics(const Found& found) {
    std::string out =
        "# HELP sluice_kube_proxy_left Chains, tables or virtual servers of a kube-proxy that were there when the "
        "agent started.\n# TYPE sluice_kube_proxy_left gauge\n";
    for (const Trace& trace : found.traces) {
        out += fmt::format("sluice_kube_proxy_left{{mechanism=\"{}\",ip_family=\"{}\"}} {}\n", trace.mechanism,
                           family_name(trace.family), trace.chains);
    }
    return out;
}

}  // namespace sluice::migrate
