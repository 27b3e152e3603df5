#include "control/apiserver/authorization/authorizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace sluice::authorization {
namespace {

constexpr std::array<std::pair<std::string_view, Mode>, 4> kModes = {{
    {"Node", Mode::kNode},
    {"RBAC", Mode::kRbac},
    {"AlwaysAllow", Mode::kAlwaysAllow},
    {"AlwaysDeny", Mode::kAlwaysDeny},
}};

}  // namespace

Result<std::vector<Mode>> parse_modes(std::string_view text) {
    std::vector<Mode> out;
    std::string_view rest = text;
    while (true) {
        const std::size_t end = std::min(rest.find(','), rest.size());
        const std::string_view name = rest.substr(0, end);
        const auto* const found =
            std::find_if(kModes.begin(), kModes.end(), [&](const auto& mode) { return mode.first == name; });
        if (found == kModes.end()) {
            return make_error(Code::kInvalidArgument,
                              "\"{}\" is not a valid mode; known are Node, RBAC, AlwaysAllow and AlwaysDeny",
                              name);
        }
        if (std::find(out.begin(), out.end(), found->second) != out.end()) {
            return make_error(Code::kInvalidArgument, "\"{}\" has mode specified more than once: {}", text, name);
        }
        out.push_back(found->second);
        if (end == rest.size()) return out;
        rest.remove_prefix(end + 1);
    }
}

Authorizer::Authorizer(std::vector<Mode> modes) : modes_(std::move(modes)), node_(graph_) {}

bool Authorizer::has(Mode mode) const {
    return std::find(modes_.begin(), modes_.end(), mode) != modes_.end();
}

Decision Authorizer::decide(const Attributes& asked) const {
    if (in_group(asked.user, kMastersGroup)) return {true, {}};
    std::string reasons;
    for (const Mode mode : modes_) {
        Decision decision;
        switch (mode) {
            case Mode::kNode: decision = node_.authorize(asked); break;
            case Mode::kRbac: decision = rbac_.authorize(asked); break;
            case Mode::kAlwaysAllow: return {true, {}};
            case Mode::kAlwaysDeny: decision = {false, "Everything is forbidden."}; break;
        }
        if (decision.allowed) return decision;
        if (decision.reason.empty()) continue;
        if (!reasons.empty()) reasons += '\n';
        reasons += decision.reason;
    }
    return {false, std::move(reasons)};
}

Decision Authorizer::authorize(const Attributes& asked) const {
    Decision decision = decide(asked);
    (decision.allowed ? allowed_ : forbidden_).fetch_add(1, std::memory_order_relaxed);
    return decision;
}

Permitted Authorizer::permitted(const http::Identity& user, const std::string& name_space) const {
    Permitted out;
    std::vector<std::string> errors;
    for (const Mode mode : modes_) {
        if (mode == Mode::kNode && node_of(user)) {
            out.incomplete = true;
            errors.emplace_back("node authorizer does not support user rule resolution");
        }
        if (mode == Mode::kAlwaysAllow) {
            out.rules.push_back({{"*"}, {"*"}, {"*"}, {}, {}});
            out.rules.push_back({{"*"}, {}, {}, {}, {"*"}});
        }
        if (mode == Mode::kRbac) {
            Rbac::RulesOf found = rbac_.rules_of(user, name_space);
            out.rules.insert(out.rules.end(), found.rules.begin(), found.rules.end());
            for (const std::string& role : found.missing) {
                errors.push_back(fmt::format("role \"{}\" not found", role));
            }
        }
    }
    out.error = errors.size() > 1 ? fmt::format("[{}]", fmt::join(errors, ", "))
                                  : (errors.empty() ? std::string() : errors.front());
    return out;
}

AuthorizerStats Authorizer::stats() const {
    return {allowed_.load(std::memory_order_relaxed), forbidden_.load(std::memory_order_relaxed)};
}

}  // namespace sluice::authorization
