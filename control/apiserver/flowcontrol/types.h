// FlowSchemas and PriorityLevelConfigurations as the dispatcher uses them: read from the objects of
// flowcontrol.apiserver.k8s.io/v1, or Kubernetes' own defaults (defaults.h). Seats are concurrent requests.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace sluice::flowcontrol {

// Limits of what objects may ask for; larger values are cut, as they would only cost memory.
inline constexpr std::uint32_t kMaxQueues = 1'024;
inline constexpr std::uint32_t kMaxQueueLength = 10'000;
inline constexpr std::size_t kMaxSchemas = 1'000;
inline constexpr std::size_t kMaxLevels = 100;

struct PriorityLevel {
    std::string name;
    std::string uid;
    bool exempt = false;
    std::uint32_t nominal_shares = 30;
    std::uint32_t lendable_percent = 0;
    std::uint32_t borrowing_limit_percent = 0;
    bool borrowing_limited = false;  // false: as much as others lend
    bool queues_requests = false;    // false: what finds no seat is rejected
    std::uint32_t queues = 64;
    std::uint32_t hand_size = 8;
    std::uint32_t queue_length_limit = 50;
};

struct Subject {
    enum class Kind { kUser, kGroup, kServiceAccount };
    Kind kind = Kind::kUser;
    std::string name;        // "*" is all
    std::string name_space;  // of a service account
};

struct ResourceRule {
    std::vector<std::string> verbs;
    std::vector<std::string> groups;
    std::vector<std::string> resources;
    bool cluster_scope = false;
    std::vector<std::string> namespaces;
};

struct NonResourceRule {
    std::vector<std::string> verbs;
    std::vector<std::string> urls;  // "*", "/path", "/path/*"
};

struct Rules {
    std::vector<Subject> subjects;
    std::vector<ResourceRule> resource_rules;
    std::vector<NonResourceRule> non_resource_rules;
};

struct FlowSchema {
    enum class Distinguisher { kNone, kByUser, kByNamespace };
    std::string name;
    std::string uid;
    std::string level;
    std::int32_t precedence = 1'000;  // lower goes first
    Distinguisher distinguisher = Distinguisher::kNone;
    std::vector<Rules> rules;
};

struct Configuration {
    std::vector<FlowSchema> schemas;
    std::vector<PriorityLevel> levels;
};

}  // namespace sluice::flowcontrol
