// See kubeconfig.h.
#include "api/client/kubeconfig.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <boost/json/value.hpp>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <optional>
#include <vector>

#include "api/base/host_port.h"
#include "api/base/ip_address.h"
#include "api/codec/json.h"
#include "api/codec/yaml.h"

namespace sluice::client {
namespace {

namespace json = boost::json;

Error bad(const std::string& message) {
    return make_error(Code::kInvalidArgument, "kubeconfig: {}", message);
}

// A member's text; empty when absent or null. Anything that is not text is an error naming the field.
Result<std::string> text_member(const json::object& object, const char* name,
                                const std::string& where) {
    const json::value* value = object.if_contains(name);
    if (value == nullptr || value->is_null()) return std::string();
    if (!value->is_string()) return bad(fmt::format("{}.{} is not a string", where, name));
    return std::string(value->get_string());
}

Result<bool> bool_member(const json::object& object, const char* name, const std::string& where) {
    const json::value* value = object.if_contains(name);
    if (value == nullptr || value->is_null()) return false;
    if (!value->is_bool()) return bad(fmt::format("{}.{} is not true or false", where, name));
    return value->get_bool();
}

// The object `inner` of the element called `name` in the list `list` ("clusters", x, "cluster").
Result<const json::object*> named(const json::object& root, const char* list, const char* inner,
                                  const std::string& name) {
    const json::value* value = root.if_contains(list);
    if (value != nullptr && !value->is_null()) {
        if (!value->is_array()) return bad(fmt::format("{} is not a list", list));
        for (const auto& element : value->get_array()) {
            const json::object* object = element.if_object();
            if (object == nullptr) return bad(fmt::format("{} has an element that is no mapping", list));
            SLUICE_TRY_ASSIGN(const std::string found, text_member(*object, "name", list));
            if (found != name) continue;
            const json::value* content = object->if_contains(inner);
            if (content == nullptr || !content->is_object()) {
                return bad(fmt::format("{}[{}].{} is missing", list, name, inner));
            }
            return &content->get_object();
        }
    }
    return make_error(Code::kNotFound, "kubeconfig: {} has no entry named \"{}\"", list, name);
}

std::optional<std::string> decode_base64(std::string_view text) {
    std::string clean;
    for (const char c : text) {
        if (c != '\n' && c != '\r' && c != ' ' && c != '\t') clean.push_back(c);
    }
    if (clean.empty() || clean.size() % 4 != 0) return std::nullopt;
    std::string out(clean.size() / 4 * 3, '\0');
    const int size = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                     reinterpret_cast<const unsigned char*>(clean.data()),
                                     static_cast<int>(clean.size()));
    if (size < 0) return std::nullopt;
    std::size_t padding = 0;
    while (padding < 2 && clean[clean.size() - 1 - padding] == '=') ++padding;
    out.resize(static_cast<std::size_t>(size) - padding);
    return out;
}

std::string resolve_path(const std::string& path, const std::string& base_dir) {
    if (path.empty() || path[0] == '/' || base_dir.empty()) return path;
    return base_dir + "/" + path;
}

// `name-data` (base64) is preferred over the file `name`, as in kubectl.
Result<std::string> data_or_file(const json::object& object, const std::string& name,
                                 const std::string& where, const std::string& base_dir) {
    SLUICE_TRY_ASSIGN(const std::string data, text_member(object, (name + "-data").c_str(), where));
    if (!data.empty()) {
        auto decoded = decode_base64(data);
        if (!decoded) return bad(fmt::format("{}.{}-data is not base64", where, name));
        return std::move(*decoded);
    }
    SLUICE_TRY_ASSIGN(const std::string path, text_member(object, name.c_str(), where));
    if (path.empty()) return std::string();
    auto content = read_file(resolve_path(path, base_dir));
    if (!content) return content.error().with_context(fmt::format("kubeconfig: {}.{}", where, name));
    return content;
}

Result<void> read_cluster(const json::object& root, const std::string& name,
                          const std::string& base_dir, ClientConfig* config) {
    SLUICE_TRY_ASSIGN(const json::object* cluster, named(root, "clusters", "cluster", name));
    const std::string where = fmt::format("clusters[{}].cluster", name);
    SLUICE_TRY_ASSIGN(const std::string server, text_member(*cluster, "server", where));
    if (server.empty()) return bad(where + ".server is missing");
    if (auto parsed = parse_server_url(server, config); !parsed) {
        return parsed.error().with_context(fmt::format("kubeconfig: {}.server", where));
    }
    SLUICE_TRY_ASSIGN(const std::string proxy, text_member(*cluster, "proxy-url", where));
    if (!proxy.empty()) {
        return make_error(Code::kUnimplemented,
                          "kubeconfig: {}.proxy-url is not supported; name a server that can be reached "
                          "directly", where);
    }
    SLUICE_TRY_ASSIGN(config->tls_server_name, text_member(*cluster, "tls-server-name", where));
    SLUICE_TRY_ASSIGN(config->insecure_skip_tls_verify,
                      bool_member(*cluster, "insecure-skip-tls-verify", where));
    SLUICE_TRY_ASSIGN(config->ca_pem,
                      data_or_file(*cluster, "certificate-authority", where, base_dir));
    if (config->insecure_skip_tls_verify && !config->ca_pem.empty()) {
        return bad(fmt::format("{}: certificate-authority and insecure-skip-tls-verify exclude each "
                               "other", where));
    }
    return {};
}

Result<void> read_user(const json::object& root, const std::string& name,
                       const std::string& base_dir, ClientConfig* config) {
    SLUICE_TRY_ASSIGN(const json::object* user, named(root, "users", "user", name));
    const std::string where = fmt::format("users[{}].user", name);
    for (const char* plugin : {"exec", "auth-provider"}) {
        const json::value* value = user->if_contains(plugin);
        if (value != nullptr && !value->is_null()) {
            return make_error(Code::kUnimplemented,
                              "kubeconfig: {}.{} is not supported: no program is run for credentials; use "
                              "a client certificate, token or tokenFile", where, plugin);
        }
    }
    SLUICE_TRY_ASSIGN(config->certificate_pem,
                      data_or_file(*user, "client-certificate", where, base_dir));
    SLUICE_TRY_ASSIGN(config->private_key_pem, data_or_file(*user, "client-key", where, base_dir));
    if (config->certificate_pem.empty() != config->private_key_pem.empty()) {
        return bad(fmt::format("{}: client-certificate and client-key go together, one is missing", where));
    }
    SLUICE_TRY_ASSIGN(config->token, text_member(*user, "token", where));
    SLUICE_TRY_ASSIGN(const std::string token_file, text_member(*user, "tokenFile", where));
    config->token_file = resolve_path(token_file, base_dir);
    if (!config->token_file.empty() && config->token.empty()) {
        // Read once now, so that a wrong path is an error at start and not at the first request.
        if (auto probe = read_file(config->token_file); !probe) {
            return probe.error().with_context(fmt::format("kubeconfig: {}.tokenFile", where));
        }
    }
    SLUICE_TRY_ASSIGN(config->username, text_member(*user, "username", where));
    SLUICE_TRY_ASSIGN(config->password, text_member(*user, "password", where));
    SLUICE_TRY_ASSIGN(config->impersonate_user, text_member(*user, "as", where));
    for (const char* field : {"as-groups", "as-uid", "as-user-extra"}) {
        const json::value* value = user->if_contains(field);
        if (value != nullptr && !value->is_null()) {
            return make_error(Code::kUnimplemented, "kubeconfig: {}.{} is not supported", where, field);
        }
    }
    const auto printable = [](const std::string& text) {
        for (const char c : text) {
            if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) return false;
        }
        return true;
    };
    if (!printable(config->token) || !printable(config->impersonate_user)) {
        return bad(where + ": token and as must not hold control characters");
    }
    return {};
}

std::string directory_of(const std::string& path) {
    const auto slash = path.rfind('/');
    if (slash == std::string::npos) return {};
    return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace

std::string ClientConfig::url() const {
    return fmt::format("{}://{}{}", tls ? "https" : "http", host_and_port(host, port), path_prefix);
}

Result<void> parse_server_url(std::string_view url, ClientConfig* config) {
    const auto refuse = [&](std::string_view why) {
        return make_error(Code::kInvalidArgument, "server \"{}\": {}", url, why);
    };
    std::string_view rest = url;
    config->tls = true;
    if (const auto scheme = rest.find("://"); scheme != std::string_view::npos) {
        const std::string_view name = rest.substr(0, scheme);
        if (name != "http" && name != "https") return refuse("the scheme is neither https nor http");
        config->tls = name == "https";
        rest.remove_prefix(scheme + 3);
    }
    for (const char c : rest) {
        if (static_cast<unsigned char>(c) <= 0x20 || static_cast<unsigned char>(c) >= 0x7f) {
            return refuse("it holds white space or control characters");
        }
    }
    if (rest.find_first_of("?#@\\") != std::string_view::npos) {
        return refuse("user information, query and fragment are not allowed");
    }
    const auto slash = rest.find('/');
    std::string_view authority = rest.substr(0, slash);
    std::string_view path = slash == std::string_view::npos ? "" : rest.substr(slash);
    while (!path.empty() && path.back() == '/') path.remove_suffix(1);
    std::string_view port;
    bool has_port = false;
    if (!authority.empty() && authority.front() == '[') {
        const auto close = authority.find(']');
        if (close == std::string_view::npos) return refuse("the bracket is not closed");
        config->host = std::string(authority.substr(1, close - 1));
        const auto parsed = IpAddress::parse(config->host);
        if (!parsed || config->host.find(':') == std::string::npos) {
            return refuse("what stands in brackets is no IPv6 address");
        }
        authority.remove_prefix(close + 1);
        if (!authority.empty() && authority.front() != ':') return refuse("a port is expected after ]");
        has_port = !authority.empty();
        if (has_port) port = authority.substr(1);
    } else {
        const auto colon = authority.find(':');
        if (colon != std::string_view::npos && authority.find(':', colon + 1) != std::string_view::npos) {
            return refuse("an IPv6 address needs brackets");
        }
        has_port = colon != std::string_view::npos;
        if (has_port) port = authority.substr(colon + 1);
        config->host = std::string(authority.substr(0, colon));
    }
    if (config->host.empty()) return refuse("the host is missing");
    config->port = config->tls ? 443 : 80;
    if (has_port) {
        unsigned value = 0;
        const auto end = port.data() + port.size();
        const auto [stop, error] = std::from_chars(port.data(), end, value);
        if (error != std::errc() || stop != end || value < 1 || value > 65'535) {
            return refuse("the port is not in 1-65535");
        }
        config->port = static_cast<std::uint16_t>(value);
    }
    config->path_prefix = std::string(path);
    return {};
}

Result<ClientConfig> parse_kubeconfig(std::string_view text, const std::string& base_dir,
                                      const std::string& context) {
    auto document = codec::yaml_to_json(text);
    if (!document) return document.error().with_context("kubeconfig");
    const json::object* root = document->if_object();
    if (root == nullptr) return bad("it is not a mapping");
    SLUICE_TRY_ASSIGN(const std::string kind, text_member(*root, "kind", ""));
    if (!kind.empty() && kind != "Config") return bad(fmt::format("kind is \"{}\", not Config", kind));
    std::string name = context;
    if (name.empty()) {
        SLUICE_TRY_ASSIGN(name, text_member(*root, "current-context", ""));
    }
    if (name.empty()) return bad("current-context is missing");
    SLUICE_TRY_ASSIGN(const json::object* chosen, named(*root, "contexts", "context", name));
    const std::string where = fmt::format("contexts[{}].context", name);
    SLUICE_TRY_ASSIGN(const std::string cluster, text_member(*chosen, "cluster", where));
    SLUICE_TRY_ASSIGN(const std::string user, text_member(*chosen, "user", where));
    ClientConfig config;
    SLUICE_TRY_ASSIGN(config.namespace_name, text_member(*chosen, "namespace", where));
    SLUICE_TRY(read_cluster(*root, cluster, base_dir, &config));
    if (!user.empty()) SLUICE_TRY(read_user(*root, user, base_dir, &config));
    return config;
}

Result<ClientConfig> load_kubeconfig(const std::string& path, const std::string& context) {
    auto text = read_file(path);
    if (!text) return text.error().with_context("kubeconfig");
    auto config = parse_kubeconfig(*text, directory_of(path), context);
    if (!config) return config.error().with_context(path);
    return config;
}

Result<ClientConfig> in_cluster_config(const std::string& root) {
    const char* host = std::getenv("KUBERNETES_SERVICE_HOST");
    const char* port = std::getenv("KUBERNETES_SERVICE_PORT");
    if (host == nullptr || port == nullptr || *host == '\0' || *port == '\0') {
        return make_error(Code::kFailedPrecondition,
                          "not in a pod: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set; "
                          "name a kubeconfig");
    }
    ClientConfig config;
    const bool v6 = std::string_view(host).find(':') != std::string_view::npos;
    SLUICE_TRY(parse_server_url(
        fmt::format("https://{}{}{}:{}", v6 ? "[" : "", host, v6 ? "]" : "", port), &config));
    SLUICE_TRY_ASSIGN(config.ca_pem, read_file(root + "/ca.crt"));
    config.token_file = root + "/token";
    SLUICE_TRY(read_file(config.token_file));
    return config;
}

Result<std::string> read_file(const std::string& path, std::size_t limit) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return errno_error(errno, "{} cannot be opened", path);
    std::string content;
    std::array<char, 16'384> buffer{};
    Result<std::string> result = std::string();
    while (true) {
        const ssize_t got = ::read(fd, buffer.data(), buffer.size());
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) {
            result = errno_error(errno, "{} cannot be read", path);
            break;
        }
        if (got == 0) {
            result = std::move(content);
            break;
        }
        content.append(buffer.data(), static_cast<std::size_t>(got));
        if (content.size() > limit) {
            result = make_error(Code::kResourceExhausted, "{} is larger than {} bytes", path, limit);
            break;
        }
    }
    ::close(fd);
    return result;
}

}  // namespace sluice::client
