// Kubernetes' EncryptionConfiguration (apiserver.config.k8s.io/v1): which resources are encrypted, by
// which providers and keys. The first provider of a resource writes; all of them are tried for reading,
// so that keys are rotated by their order.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "control/store/encryption/ciphers.h"

namespace sluice::store {

// One key of a provider; `cipher` null is identity, with an empty prefix.
struct Transformer {
    std::string prefix;  // "k8s:enc:aesgcm:v1:NAME:"
    std::unique_ptr<Cipher> cipher;
};

struct EncryptionRule {
    std::vector<std::string> resources;  // "secrets", "deployments.apps", "*.", "*.apps", "*.*"
    std::vector<Transformer> transformers;
};

struct Plain {
    std::string value;
    bool stale = false;  // not in the form that would be written now
};

// Immutable and thread-safe.
class EncryptionConfig {
public:
    // YAML or JSON. Errors name the field; secrets are never part of them.
    static Result<std::shared_ptr<const EncryptionConfig>> parse(std::string_view text);

    // The rule of the resource whose objects lie below such keys; nullptr: stored as it is.
    [[nodiscard]] const EncryptionRule* rule_for(std::string_view key) const;

    // context: the key as it is stored.
    static Result<std::string> seal(const EncryptionRule& rule, std::string_view plain,
                                    std::string_view context);
    // nullopt: the value is plain and in the form that would be written.
    static Result<std::optional<Plain>> open(const EncryptionRule& rule, std::string_view stored,
                                             std::string_view context);

private:
    std::vector<EncryptionRule> rules_;
};

inline constexpr std::size_t kMaxEncryptionConfigBytes = std::size_t{1} << 20;
inline constexpr std::size_t kMaxEncryptionKeys = 256;

}  // namespace sluice::store
