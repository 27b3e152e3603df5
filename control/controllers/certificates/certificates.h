// Certificates for nodes, and what lets a node ask for its first one.
#pragma once

#include <memory>
#include <string>

#include "control/controllers/controller.h"
#include "control/pki/certificate.h"

namespace sluice::controllers {

inline constexpr char kClientSigner[] = "kubernetes.io/kube-apiserver-client-kubelet";
inline constexpr char kServingSigner[] = "kubernetes.io/kubelet-serving";

// Approves or denies the requests of the two signers, and signs what is approved, by whomever.
std::unique_ptr<Controller> make_csr_controller(Context& context, pki::KeyPair ca);

// Removes requests that are done with: an hour after the decision, a day without one, or when the
// certificate has ended.
std::unique_ptr<Controller> make_csr_cleaner(Context& context);

// Keeps the ConfigMap kube-public/cluster-info: a kubeconfig with the server and its authority,
// signed with every bootstrap token that may sign. Removes tokens that have expired.
std::unique_ptr<Controller> make_bootstrap_signer(Context& context, std::string server_url,
                                                  std::string root_ca_pem);

}  // namespace sluice::controllers
