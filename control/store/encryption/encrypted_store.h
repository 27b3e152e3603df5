// A store whose values are encrypted on their way in and decrypted on their way out, as an
// EncryptionConfiguration says. It stands between the resource API and either kind of store.
//
//     registry --plain--> EncryptedStore --k8s:enc:...--> embedded store or etcd
//
// What cannot be decrypted fails the read that met it (a list as a whole), with the key and never a
// secret; a watch that meets it ends. Values that another key or provider than the first has written
// are read with KeyValue::stale, so that a write of the same object renews them.
#pragma once

#include <memory>
#include <string>

#include "control/store/encryption/config.h"
#include "control/store/store.h"

namespace sluice::store {

// The file is looked at again every few seconds; what is wrong in it then is logged, and the
// configuration that was in force stays.
Result<std::unique_ptr<Store>> encrypt_store(std::unique_ptr<Store> store,
                                             const std::string& config_path);

inline constexpr int kConfigReloadIntervalMs = 2'000;

}  // namespace sluice::store
