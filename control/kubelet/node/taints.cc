// Taints as the flag --register-with-taints gives them; see node.h.
#include <set>

#include "api/kubernetes/core/v1/node.pb.h"
#include "control/kubelet/node/node.h"

namespace sluice::kubelet {

Result<corev1::Node> parse_taints(const std::vector<std::string>& taints) {
    corev1::Node node;
    std::set<std::pair<std::string, std::string>> seen;
    for (const std::string& text : taints) {
        const std::size_t colon = text.rfind(':');
        const std::string left = text.substr(0, colon);
        const std::size_t equals = left.find('=');
        const std::string key = left.substr(0, equals);
        if (colon == std::string::npos || key.empty() || key.find(':') != std::string::npos) {
            return make_error(Code::kInvalidArgument,
                              "invalid taint spec: \"{}\", must be <key>=<value>:<effect> or <key>:<effect>",
                              text);
        }
        const std::string effect = text.substr(colon + 1);
        if (effect != "NoSchedule" && effect != "PreferNoSchedule" && effect != "NoExecute") {
            return make_error(Code::kInvalidArgument,
                              "invalid taint effect: \"{}\" in \"{}\" is none of NoSchedule, "
                              "PreferNoSchedule, NoExecute", effect, text);
        }
        if (!seen.emplace(key, effect).second) {
            return make_error(Code::kInvalidArgument,
                              "duplicated taints with the same key and effect: \"{}\"", text);
        }
        auto* taint = node.mutable_spec()->add_taints();
        taint->set_key(key);
        if (equals != std::string::npos) taint->set_value(left.substr(equals + 1));
        taint->set_effect(effect);
    }
    return node;
}

}  // namespace sluice::kubelet
