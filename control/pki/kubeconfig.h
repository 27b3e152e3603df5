// Kubeconfig files with embedded certificates.
#pragma once

#include <string>

#include "api/base/result.h"
#include "control/pki/certificate.h"

namespace sluice::pki {

struct Kubeconfig {
    std::string server;  // "https://127.0.0.1:6443"
    std::string ca_pem;
    std::string user;  // the entry's name; the certificate says who the client is
    KeyPair client;
};

[[nodiscard]] std::string kubeconfig_text(const Kubeconfig& config);

// Writes it to path (0600, atomically) unless the file says the same already.
Result<void> write_kubeconfig(const std::string& path, const Kubeconfig& config);

}  // namespace sluice::pki
