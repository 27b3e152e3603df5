#include "control/apiserver/admission/pod_security/policy.h"

#include <algorithm>

namespace sluice::admission::pod_security {
namespace {

constexpr std::string_view kLevels[] = {"privileged", "baseline", "restricted"};
constexpr std::size_t kMaxDigits = 9;

std::optional<Level> parse_level(std::string_view text) {
    for (std::size_t i = 0; i < std::size(kLevels); ++i) {
        if (text == kLevels[i]) return static_cast<Level>(i);
    }
    return std::nullopt;
}

// "latest" or "v1.N" without leading zeros.
std::optional<Version> parse_version(std::string_view text) {
    if (text == "latest") return Version{};
    if (!text.starts_with("v1.")) return std::nullopt;
    text.remove_prefix(3);
    const bool digits =
        !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
    if (!digits || text.size() > kMaxDigits || (text.size() > 1 && text.front() == '0')) return std::nullopt;
    return Version{std::stoi(std::string(text))};
}

class Reader {
public:
    Reader(const Labels& labels, std::vector<LabelError>* errors) : labels_(labels), errors_(errors) {}

    // True when the label is there and good.
    bool level(const std::string& name, Level when_bad, Level* out) const {
        const std::string* text = labels_(name);
        if (text == nullptr) return false;
        const auto parsed = parse_level(*text);
        *out = parsed.value_or(when_bad);
        if (!parsed) errors_->push_back({name, *text, "must be one of privileged, baseline, restricted"});
        return parsed.has_value();
    }
    void version(const std::string& name, Version* out) const {
        const std::string* text = labels_(name);
        if (text == nullptr) return;
        const auto parsed = parse_version(*text);
        *out = parsed.value_or(Version{});
        if (!parsed) errors_->push_back({name, *text, "must be \"latest\" or \"v1.x\""});
    }

private:
    const Labels& labels_;
    std::vector<LabelError>* errors_;
};

}  // namespace

std::string to_string(const Standard& standard) {
    std::string out(kLevels[static_cast<std::size_t>(standard.level)]);
    out += standard.version.minor ? ":v1." + std::to_string(*standard.version.minor) : ":latest";
    return out;
}

Policy policy_of(const Labels& labels, std::vector<LabelError>* errors) {
    const std::string prefix = "pod-security.kubernetes.io/";
    const Reader read(labels, errors);
    Policy out;
    const bool enforced = read.level(prefix + "enforce", Level::kRestricted, &out.enforce.level);
    read.version(prefix + "enforce-version", &out.enforce.version);
    read.level(prefix + "audit", Level::kPrivileged, &out.audit.level);
    read.version(prefix + "audit-version", &out.audit.version);
    read.level(prefix + "warn", Level::kPrivileged, &out.warn.level);
    read.version(prefix + "warn-version", &out.warn.version);
    // Who is told nothing else is warned of templates whose Pods would be refused.
    if (labels(prefix + "warn") == nullptr && enforced && out.enforce.level > out.warn.level) {
        out.warn.level = out.enforce.level;
        if (labels(prefix + "warn-version") == nullptr) out.warn.version = out.enforce.version;
    }
    return out;
}

}  // namespace sluice::admission::pod_security
