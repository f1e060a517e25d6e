/* teams.c - network teams and bridges, by their virtual adapters.
 *
 * What a team consists of is known by its members' GUIDs and hardware addresses, and the VM's
 * adapters have others: Windows shows a team without members. The services of teaming are there in
 * every Windows since 8, so its adapter is what tells.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "repair/windows/teams.h"

#define NET_CLASS "{4D36E972-E325-11CE-BFC1-08002BE10318}"
#define MAX_KEYS 1000u

/* What the component or the description of such an adapter contains, in lower case: Windows' own
 * multiplexor, which bridges have, too; those of Intel, Broadcom and HP; and what others are
 * called.
 */
static const char *const marks[]
    = {"implat", "multiplexor", "iansminiport", "basp virtual", "cpqteam", "teaming", "team #"};

static gboolean
is_team (const char *component, const char *device)
{
  g_autofree char *text
      = g_strconcat (component ? component : "", "\n", device ? device : "", NULL);
  g_autofree char *lower = g_ascii_strdown (text, -1);

  for (guint i = 0; i < G_N_ELEMENTS (marks); i++)
    if (strstr (lower, marks[i]))
      return TRUE;
  return FALSE;
}

/* The addresses that the adapter GUID was given, ": 192.0.2.7, 192.0.2.8", or "". The caller's. */
static char *
addresses_of (H2kHive *system, const char *set, const char *guid)
{
  g_autofree char *key
      = g_strconcat (set, "\\Services\\Tcpip\\Parameters\\Interfaces\\", guid, NULL);
  g_auto (GStrv) addresses = h2k_hive_get_strings (system, key, "IPAddress");
  g_autofree char *list = addresses ? g_strjoinv (", ", addresses) : NULL;
  guint32 dhcp = 0;

  if (!list || !*list || (h2k_hive_get_dword (system, key, "EnableDHCP", &dhcp) && dhcp))
    return g_strdup ("");
  return g_strconcat (": ", list, NULL);
}

static void
warn_team (H2kRepairContext *context, H2kHive *system, const char *key, const char *device)
{
  const char *set = context->guest->windows->control_set;
  g_autofree char *guid = h2k_hive_get_string (system, key, "NetCfgInstanceId");
  g_autofree char *connection = g_strconcat (set, "\\Control\\Network\\" NET_CLASS "\\",
                                             guid ? guid : "", "\\Connection", NULL);
  g_autofree char *name = h2k_hive_get_string (system, connection, "Name");
  g_autofree char *addresses = addresses_of (system, set, guid ? guid : "");

  h2k_repair_warn (context,
                   "the network team or bridge \"%s\" loses its members, since the VM has other "
                   "adapters: make it anew in the VM, with its addresses%s",
                   name ? name : device, addresses);
}

void
h2k_windows_warn_teams (H2kRepairContext *context, H2kHive *system)
{
  const char *set = context->guest->windows->control_set;
  g_autofree char *class_key = g_strconcat (set, "\\Control\\Class\\" NET_CLASS, NULL);
  g_autoptr (GPtrArray) numbers = h2k_hive_list_keys (system, class_key);

  for (guint i = 0; numbers && i < MIN (numbers->len, MAX_KEYS); i++)
    {
      g_autofree char *key = g_strconcat (class_key, "\\", (char *)numbers->pdata[i], NULL);
      g_autofree char *component = h2k_hive_get_string (system, key, "ComponentId");
      g_autofree char *device = h2k_hive_get_string (system, key, "DriverDesc");

      if (is_team (component, device))
        warn_team (context, system, key, device ? device : component);
    }
}
