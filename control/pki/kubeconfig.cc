#include "control/pki/kubeconfig.h"

#include <openssl/evp.h>

#include "control/pki/files.h"

namespace sluice::pki {
namespace {

constexpr const char* kCluster = "sluice";

std::string base64(const std::string& text) {
    std::string out((text.size() + 2) / 3 * 4 + 1, '\0');  // EVP_EncodeBlock adds a NUL
    const int size = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                     reinterpret_cast<const unsigned char*>(text.data()),
                                     static_cast<int>(text.size()));
    out.resize(static_cast<std::size_t>(size));
    return out;
}

// A YAML scalar that holds any text: single quotes, in which only the quote itself is special.
std::string quoted(const std::string& text) {
    std::string out = "'";
    for (const char c : text) {
        if (c == '\'') out.push_back('\'');
        out.push_back(c);
    }
    return out + "'";
}

}  // namespace

std::string kubeconfig_text(const Kubeconfig& config) {
    return fmt::format(
        "apiVersion: v1\n"
        "kind: Config\n"
        "clusters:\n"
        "- name: {cluster}\n"
        "  cluster:\n"
        "    certificate-authority-data: {ca}\n"
        "    server: {server}\n"
        "users:\n"
        "- name: {user}\n"
        "  user:\n"
        "    client-certificate-data: {certificate}\n"
        "    client-key-data: {key}\n"
        "contexts:\n"
        "- name: {context}\n"
        "  context:\n"
        "    cluster: {cluster}\n"
        "    user: {user}\n"
        "current-context: {context}\n"
        "preferences: {{}}\n",
        fmt::arg("cluster", kCluster), fmt::arg("ca", base64(config.ca_pem)),
        fmt::arg("server", quoted(config.server)), fmt::arg("user", quoted(config.user)),
        fmt::arg("certificate", base64(config.client.certificate_pem)),
        fmt::arg("key", base64(config.client.private_key_pem)),
        fmt::arg("context", quoted(config.user + "@" + kCluster)));
}

Result<void> write_kubeconfig(const std::string& path, const Kubeconfig& config) {
    const std::string text = kubeconfig_text(config);
    // A file that cannot be read is a reason to write it anew: it holds nothing that is not in the PKI.
    if (const auto present = read_secret(path); present && *present && **present == text) return {};
    return write_secret(path, text);
}

}  // namespace sluice::pki
