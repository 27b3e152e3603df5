// Schedules of CronJobs: the five fields of cron, "@daily" and the like, "@every 1h30m", as
// robfig/cron's standard parser reads them, with its words for what it refuses. And the names of
// time zones. Pure but for check_time_zone.
#pragma once

#include <string>
#include <string_view>

namespace sluice::registry {

// What is wrong with the schedule; empty when it is well.
[[nodiscard]] std::string check_schedule(std::string_view schedule);

// What is wrong with the name of a time zone of the IANA database, which is looked for under
// /usr/share/zoneinfo; empty when there is one of that name. Thread-safe; costs one look at the file
// system.
[[nodiscard]] std::string check_time_zone(const std::string& name);

}  // namespace sluice::registry
