#include "control/apiserver/admission/plugins.h"

#include <algorithm>
#include <array>
#include <string>
#include <vector>

namespace sluice::admission {
namespace {

struct Named {
    std::string_view name;
    Plugin plugin;
    bool fixed = false;  // cannot be turned off
};

constexpr std::array<Named, static_cast<std::size_t>(Plugin::kCount)> kNames = {{
    {"CertificateApproval", Plugin::kCertificateApproval},
    {"CertificateSigning", Plugin::kCertificateSigning},
    {"DefaultIngressClass", Plugin::kDefaultIngressClass},
    {"DefaultStorageClass", Plugin::kDefaultStorageClass},
    {"DefaultTolerationSeconds", Plugin::kDefaultTolerationSeconds, true},
    {"LimitRanger", Plugin::kLimitRanger},
    {"MutatingAdmissionWebhook", Plugin::kMutatingAdmissionWebhook},
    {"NamespaceLifecycle", Plugin::kNamespaceLifecycle, true},
    {"NodeRestriction", Plugin::kNodeRestriction},
    {"PodSecurity", Plugin::kPodSecurity},
    {"Priority", Plugin::kPriority},
    {"ResourceQuota", Plugin::kResourceQuota},
    {"RuntimeClass", Plugin::kRuntimeClass},
    {"ServiceAccount", Plugin::kServiceAccount},
    {"TaintNodesByCondition", Plugin::kTaintNodesByCondition, true},
    {"ValidatingAdmissionPolicy", Plugin::kValidatingAdmissionPolicy},
    {"ValidatingAdmissionWebhook", Plugin::kValidatingAdmissionWebhook},
}};

Result<std::vector<const Named*>> named_in(const char* flag, std::string_view text) {
    std::vector<const Named*> out;
    while (!text.empty()) {
        const std::size_t comma = text.find(',');
        const std::string_view name = text.substr(0, comma);
        const auto* found =
            std::find_if(kNames.begin(), kNames.end(), [name](const Named& known) { return known.name == name; });
        if (found == kNames.end()) {
            return make_error(Code::kInvalidArgument, "{}: there is no plugin \"{}\"", flag, name);
        }
        out.push_back(found);
        if (comma == std::string_view::npos) break;
        text.remove_prefix(comma + 1);
    }
    return out;
}

}  // namespace

PluginSet PluginSet::all() {
    PluginSet out;
    for (const auto& known : kNames) out.set(known.plugin, true);
    return out;
}

Result<PluginSet> parse_plugins(std::string_view enable, std::string_view disable) {
    SLUICE_TRY_ASSIGN(const auto enabled, named_in("--enable-admission-plugins", enable));
    SLUICE_TRY_ASSIGN(const auto disabled, named_in("--disable-admission-plugins", disable));
    PluginSet out = PluginSet::all();
    for (const auto* off : disabled) {
        if (std::find(enabled.begin(), enabled.end(), off) != enabled.end()) {
            return make_error(Code::kInvalidArgument, "{} in enable-admission-plugins and disable-admission-plugins "
                              "overlapped",
                              off->name);
        }
        if (off->fixed) {
            return make_error(Code::kInvalidArgument,
                              "--disable-admission-plugins: {} is always on, as it is part of how objects are kept",
                              off->name);
        }
        out.set(off->plugin, false);
    }
    return out;
}

}  // namespace sluice::admission
