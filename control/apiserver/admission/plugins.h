// Which plugins are in force, by kube-apiserver's names and flags.
#pragma once

#include <cstdint>
#include <string_view>

#include "api/base/result.h"

namespace sluice::admission {

enum class Plugin : std::uint8_t {
    kCertificateApproval,
    kCertificateSigning,
    kDefaultIngressClass,
    kDefaultStorageClass,
    kDefaultTolerationSeconds,
    kLimitRanger,
    kMutatingAdmissionWebhook,
    kNamespaceLifecycle,
    kNodeRestriction,
    kPodSecurity,
    kPriority,
    kResourceQuota,
    kRuntimeClass,
    kServiceAccount,
    kTaintNodesByCondition,
    kValidatingAdmissionPolicy,
    kValidatingAdmissionWebhook,
    kCount,
};

class PluginSet {
public:
    [[nodiscard]] bool has(Plugin plugin) const { return (bits_ & bit(plugin)) != 0; }
    void set(Plugin plugin, bool on) { bits_ = on ? bits_ | bit(plugin) : bits_ & ~bit(plugin); }
    [[nodiscard]] PluginSet without(Plugin plugin) const {
        PluginSet out = *this;
        out.set(plugin, false);
        return out;
    }
    // All of them: those of kube-apiserver's default set that there are here, and NodeRestriction.
    static PluginSet all();

private:
    static std::uint32_t bit(Plugin plugin) { return 1U << static_cast<unsigned>(plugin); }
    std::uint32_t bits_ = 0;
};

// Lists of names separated by commas, as --enable-admission-plugins and --disable-admission-plugins have them: what is
// enabled is added to the default set. kInvalidArgument: a name that is unknown, or in both lists, or a plugin that
// cannot be turned off, as it is part of how objects are stored here.
Result<PluginSet> parse_plugins(std::string_view enable, std::string_view disable);

}  // namespace sluice::admission
