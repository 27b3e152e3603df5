// References of images, and which credentials are for them.
#include <algorithm>
#include <boost/json.hpp>
#include <cctype>

#include "api/kubernetes/core/v1/secret.pb.h"
#include "control/kubelet/pods/images.h"

namespace sluice::kubelet {

namespace {

constexpr std::size_t kMaxNameCharacters = 255;
constexpr std::size_t kMaxTagCharacters = 128;
constexpr char kDefaultRegistry[] = "docker.io";

Error invalid() { return make_error(Code::kInvalidArgument, "invalid reference format"); }

bool is_lower_or_digit(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }
bool is_word(char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
}

// [a-z0-9]+ joined by ".", "_", "__" or dashes.
bool is_component(std::string_view text) {
    if (text.empty() || !is_lower_or_digit(text.front()) || !is_lower_or_digit(text.back())) {
        return false;
    }
    for (std::size_t at = 0; at < text.size(); ++at) {
        const char c = text[at];
        if (is_lower_or_digit(c) || c == '-') continue;
        if (c != '.' && c != '_') return false;
        const char before = text[at - 1];
        if (before == '.' || before == '-' || (c == '.' && before == '_')) return false;
        if (c == '_' && at >= 2 && before == '_' && text[at - 2] == '_') return false;
    }
    return true;
}

bool is_registry(std::string_view first) {
    return first == "localhost" || first.find('.') != std::string_view::npos ||
           first.find(':') != std::string_view::npos;
}

// "https://index.docker.io/v1/" and "registry:5000/team" as "index.docker.io" and "registry:5000/team".
std::string bare_registry(std::string text) {
    for (const std::string_view scheme : {"https://", "http://"}) {
        if (text.starts_with(scheme)) text.erase(0, scheme.size());
    }
    for (const std::string_view tail : {"/v1/", "/v2/", "/v1", "/v2", "/"}) {
        if (text.ends_with(tail)) text.erase(text.size() - tail.size());
    }
    return text == "index.docker.io" || text == "registry-1.docker.io" ? kDefaultRegistry : text;
}

std::string member(const boost::json::object& object, const char* name) {
    const auto* value = object.if_contains(name);
    if (value == nullptr || !value->is_string()) return {};
    return {value->get_string().data(), value->get_string().size()};
}

}  // namespace

Result<std::string> normal_image_name(const std::string& image) {
    std::string rest = image;
    std::string digest;
    if (const auto at = rest.find('@'); at != std::string::npos) {
        digest = rest.substr(at);
        rest.erase(at);
        const auto colon = digest.find(':');
        if (colon == std::string::npos || colon < 2 || digest.size() - colon < 33) return invalid();
        if (!std::all_of(digest.begin() + static_cast<std::ptrdiff_t>(colon) + 1, digest.end(),
                         [](char c) { return std::isxdigit(static_cast<unsigned char>(c)) != 0; })) {
            return invalid();
        }
    }
    std::string tag;
    const auto slash = rest.rfind('/');
    const auto colon = rest.rfind(':');
    if (colon != std::string::npos && (slash == std::string::npos || colon > slash)) {
        tag = rest.substr(colon + 1);
        rest.erase(colon);
        if (tag.empty() || tag.size() > kMaxTagCharacters || !is_word(tag.front()) ||
            !std::all_of(tag.begin(), tag.end(),
                         [](char c) { return is_word(c) || c == '.' || c == '-'; })) {
            return invalid();
        }
    }
    std::string registry = kDefaultRegistry;
    const auto first = rest.find('/');
    if (first != std::string::npos && is_registry(rest.substr(0, first))) {
        registry = rest.substr(0, first);
        rest.erase(0, first + 1);
        if (!std::all_of(registry.begin(), registry.end(), [](char c) {
                return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '-' ||
                       c == ':' || c == '[' || c == ']';
            })) {
            return invalid();
        }
    } else if (first == std::string::npos) {
        rest.insert(0, "library/");
    }
    if (rest.empty() || rest.size() + registry.size() > kMaxNameCharacters) return invalid();
    std::size_t begin = 0;
    while (begin <= rest.size()) {
        const auto end = std::min(rest.find('/', begin), rest.size());
        if (!is_component(std::string_view(rest).substr(begin, end - begin))) return invalid();
        begin = end + 1;
    }
    if (tag.empty() && digest.empty()) tag = "latest";
    return registry + "/" + rest + (tag.empty() ? "" : ":" + tag) + digest;
}

std::string pull_policy(const corev1::Container& container) {
    if (!container.imagepullpolicy().empty()) return container.imagepullpolicy();
    const auto name = normal_image_name(container.image());
    return name && name->ends_with(":latest") ? "Always" : "IfNotPresent";
}

Result<std::vector<criv1::AuthConfig>> credentials_of(const corev1::Secret& secret,
                                                      const std::string& normal_name) {
    const auto named = [&](const char* problem) {
        return make_error(Code::kInvalidArgument, "secret \"{}\" {}", secret.metadata().name(),
                          problem);
    };
    const auto config = secret.data().find(".dockerconfigjson");
    const auto old = secret.data().find(".dockercfg");
    const bool has_config = config != secret.data().end();
    if (!has_config && old == secret.data().end()) {
        return named("has neither .dockerconfigjson nor .dockercfg");
    }
    boost::system::error_code error;
    const auto document = boost::json::parse(has_config ? config->second : old->second, error);
    if (error || !document.is_object()) return named("holds no JSON object");
    const boost::json::object* auths = &document.get_object();
    if (has_config) {
        const auto* inner = auths->if_contains("auths");
        if (inner == nullptr || !inner->is_object()) return named("has no auths");
        auths = &inner->get_object();
    }
    std::vector<std::pair<std::size_t, criv1::AuthConfig>> found;
    for (const auto& entry : *auths) {
        const auto registry = bare_registry(std::string(entry.key()));
        if (!entry.value().is_object() || registry.empty() ||
            !normal_name.starts_with(registry) || normal_name.size() == registry.size() ||
            normal_name[registry.size()] != '/') {
            continue;
        }
        const auto& fields = entry.value().get_object();
        criv1::AuthConfig auth;
        auth.set_username(member(fields, "username"));
        auth.set_password(member(fields, "password"));
        auth.set_auth(member(fields, "auth"));
        auth.set_identity_token(member(fields, "identitytoken"));
        found.emplace_back(registry.size(), std::move(auth));
    }
    // The most specific registry first.
    std::stable_sort(found.begin(), found.end(),
                     [](const auto& left, const auto& right) { return left.first > right.first; });
    std::vector<criv1::AuthConfig> out;
    for (auto& auth : found) out.push_back(std::move(auth.second));
    return out;
}

}  // namespace sluice::kubelet
