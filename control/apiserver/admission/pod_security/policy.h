// The Pod Security Standards of a namespace, as its labels say: a level and a version of it, for each of three modes.
// Pure.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::admission::pod_security {

enum class Level : std::uint8_t { kPrivileged, kBaseline, kRestricted };  // from lax to strict

// The newest version whose rules are known; newer ones, and "latest", have the same.
inline constexpr int kNewestMinor = 32;

struct Version {
    std::optional<int> minor;  // nullopt: latest
    // Whose rules are in force.
    [[nodiscard]] int effective() const { return minor && *minor < kNewestMinor ? *minor : kNewestMinor; }
    bool operator==(const Version&) const = default;
};

struct Standard {
    Level level = Level::kPrivileged;
    Version version;
    bool operator==(const Standard&) const = default;
};

// "restricted:latest", "baseline:v1.31".
[[nodiscard]] std::string to_string(const Standard& standard);

struct Policy {
    Standard enforce;
    Standard audit;
    Standard warn;
    [[nodiscard]] bool is_privileged() const {
        return enforce.level == Level::kPrivileged && audit.level == Level::kPrivileged &&
               warn.level == Level::kPrivileged;
    }
};

struct LabelError {
    std::string label;
    std::string value;
    std::string why;
    bool operator==(const LabelError&) const = default;
};

// The value of a label; null: it is not there.
using Labels = std::function<const std::string*(const std::string& name)>;

// What labels below pod-security.kubernetes.io/ make of the default, privileged. Labels that cannot be read are
// restricted for enforce, privileged for audit and warn, and the latest version; they are told in *errors.
[[nodiscard]] Policy policy_of(const Labels& labels, std::vector<LabelError>* errors);

}  // namespace sluice::admission::pod_security
