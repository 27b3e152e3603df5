// A reader-writer lock in which a waiting writer holds back new readers.
// std::shared_mutex prefers readers in glibc, so that overlapping lists could keep a committed
// group from becoming visible for as long as they go on; here the writer waits only for the readers
// already inside.
#pragma once

#include <pthread.h>

#include "api/base/result.h"

namespace sluice::store {

// Meets SharedMutex as std::shared_lock and std::unique_lock need it.
// REQUIRES: no thread takes the shared lock twice (it would deadlock with a writer between).
class RwLock {
public:
    RwLock() {
        pthread_rwlockattr_t attributes;
        SLUICE_ASSERT(pthread_rwlockattr_init(&attributes) == 0);
        SLUICE_ASSERT(pthread_rwlockattr_setkind_np(
                          &attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP) == 0);
        SLUICE_ASSERT(pthread_rwlock_init(&lock_, &attributes) == 0);
        pthread_rwlockattr_destroy(&attributes);
    }
    ~RwLock() { pthread_rwlock_destroy(&lock_); }
    RwLock(const RwLock&) = delete;
    RwLock& operator=(const RwLock&) = delete;

    void lock() { SLUICE_ASSERT(pthread_rwlock_wrlock(&lock_) == 0); }
    void unlock() { SLUICE_ASSERT(pthread_rwlock_unlock(&lock_) == 0); }
    void lock_shared() { SLUICE_ASSERT(pthread_rwlock_rdlock(&lock_) == 0); }
    void unlock_shared() { SLUICE_ASSERT(pthread_rwlock_unlock(&lock_) == 0); }

private:
    pthread_rwlock_t lock_{};
};

}  // namespace sluice::store
