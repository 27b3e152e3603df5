// The $(NAME) syntax of commands, arguments and environment values; see environment.h. Grammar:
// Kubernetes' package expansion.
#include "control/kubelet/environment/environment.h"

namespace sluice::kubelet {

std::string expand(std::string_view text, const std::map<std::string, std::string>& environment) {
    std::string out;
    out.reserve(text.size());
    std::size_t at = 0;
    while (at < text.size()) {
        if (text[at] != '$' || at + 1 == text.size()) {
            out.push_back(text[at++]);
            continue;
        }
        if (text[at + 1] == '$') {
            out.push_back('$');
            at += 2;
            continue;
        }
        const std::size_t end = text[at + 1] == '(' ? text.find(')', at + 2) : std::string_view::npos;
        if (end == std::string_view::npos) {
            // No reference: the sign and what follows stand for themselves. After "$(" without an
            // end the parenthesis is skipped too, so that a "$" behind it still begins a reference.
            out.append(text.substr(at, 2));
            at += 2;
            continue;
        }
        const std::string name(text.substr(at + 2, end - at - 2));
        const auto known = environment.find(name);
        if (known == environment.end()) {
            out.append(text.substr(at, end + 1 - at));
        } else {
            out.append(known->second);
        }
        at = end + 1;
    }
    return out;
}

}  // namespace sluice::kubelet
