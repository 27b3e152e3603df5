// Tokens in Secrets of type kubernetes.io/service-account-token.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "control/controllers/controller.h"

namespace sluice::controllers {

// A token that is good while the Secret holds it and the account lives. Thread-safe.
using SignToken = std::function<Result<std::string>(const std::string& namespace_name, const std::string& secret,
                                                    const std::string& account, const std::string& account_uid)>;

// Fills such Secrets with a token, the namespace and root_ca_pem; deletes those whose account is gone.
std::unique_ptr<Controller> make_tokens_controller(Context& context, SignToken sign, std::string root_ca_pem);

}  // namespace sluice::controllers
