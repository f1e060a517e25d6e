/* inf-install.c - install sections and their services: "INF DDInstall Section", "INF
 * DDInstall.Services", ".HW", ".CoInstallers Section" and "INF AddService Directive" of Microsoft's
 * driver documentation.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "drivers/inf-private.h"

#define SPSVCINST_ASSOCSERVICE 0x00000002

void
h2k_inf_text_clear (H2kInfText *text)
{
  g_clear_pointer (&text->token, g_free);
  g_clear_pointer (&text->text, g_free);
}

static GPtrArray *
new_reg_list (void)
{
  return g_ptr_array_new_with_free_func ((GDestroyNotify)h2k_inf_reg_free);
}

static GPtrArray *
new_file_list (void)
{
  return g_ptr_array_new_with_free_func ((GDestroyNotify)h2k_inf_file_free);
}

static void
service_free (H2kInfService *service)
{
  g_free (service->name);
  g_free (service->binary);
  g_free (service->group);
  g_free (service->start_name);
  h2k_inf_text_clear (&service->display_name);
  h2k_inf_text_clear (&service->description);
  g_strfreev (service->dependencies);
  g_ptr_array_unref (service->reg);
  g_free (service->event_log);
  g_free (service->event_name);
  g_ptr_array_unref (service->event_reg);
  g_free (service);
}

void
h2k_inf_install_free (H2kInfInstall *install)
{
  g_free (install->name);
  g_free (install->decorated);
  g_ptr_array_unref (install->files);
  g_ptr_array_unref (install->reg);
  g_ptr_array_unref (install->hw_reg);
  g_ptr_array_unref (install->co_files);
  g_ptr_array_unref (install->co_reg);
  g_ptr_array_unref (install->services);
  g_strfreev (install->include);
  g_strfreev (install->needs);
  g_free (install);
}

/* All fields of all lines KEY of SECTION. */
static GStrv
read_list (InfDoc *doc, const InfSection *section, const char *key)
{
  g_autoptr (GPtrArray) list = g_ptr_array_new_with_free_func (g_free);
  const InfLine *line;
  guint cursor = 0;

  while ((line = h2k_inf_next (doc, section, key, &cursor)))
    for (guint i = 0; i < line->fields->len && h2k_inf_charge (doc, line->number); i++)
      {
        g_autofree char *text = h2k_inf_text (doc, line, i);
        if (*text)
          g_ptr_array_add (list, g_steal_pointer (&text));
      }
  g_ptr_array_add (list, NULL);
  return (GStrv)g_ptr_array_free (g_steal_pointer (&list), FALSE);
}

/* The text of the first line KEY of SECTION; NULL: there is none, or it is empty. */
static char *
read_optional (InfDoc *doc, InfSection *section, const char *key)
{
  g_autofree char *text = h2k_inf_text (doc, h2k_inf_first (section, key), 0);

  return *text ? g_steal_pointer (&text) : NULL;
}

static guint32
read_required (InfDoc *doc, InfSection *section, const char *key)
{
  const InfLine *line = h2k_inf_first (section, key);

  if (!line || *h2k_inf_raw (line, 0) == '\0')
    h2k_inf_fail (doc, line ? line->number : section->number, H2K_ERROR_FORMAT,
                  "the service's section has no %s", key);
  return h2k_inf_number (doc, line, 0, 0);
}

/* %12%\x.sys is 12 and x.sys. */
static void
read_binary (InfDoc *doc, InfSection *section, H2kInfService *service)
{
  const InfLine *line = h2k_inf_first (section, "ServiceBinary");
  g_autofree char *text = h2k_inf_text (doc, line, 0);
  const char *rest = text;
  char *end;

  if (*text == '\0')
    h2k_inf_fail (doc, line ? line->number : section->number, H2K_ERROR_FORMAT,
                  "the service's section has no ServiceBinary");
  if (text[0] == '%' && g_ascii_isdigit (text[1]))
    {
      guint64 id = g_ascii_strtoull (text + 1, &end, 10);
      if (*end == '%' && id <= G_MAXINT32)
        {
          service->binary_dirid = (gint32)id;
          rest = end + 1;
          rest += strspn (rest, "\\");
        }
    }
  /* It becomes a path in the guest, and one of the host's tree when the file is put there. */
  for (const char *at = rest; (at = strstr (at, "..")); at++)
    if ((at == rest || at[-1] == '\\' || at[-1] == '/') && strchr ("\\/", at[2]))
      h2k_inf_fail (doc, line->number, H2K_ERROR_FORMAT, "ServiceBinary leaves its folder");
  service->binary = g_strdup (rest);
}

static void
read_service_section (InfDoc *doc, InfSection *section, H2kInfService *service)
{
  const InfLine *display = h2k_inf_first (section, "DisplayName");
  const InfLine *description = h2k_inf_first (section, "Description");

  service->type = read_required (doc, section, "ServiceType");
  service->start = read_required (doc, section, "StartType");
  service->error_control = read_required (doc, section, "ErrorControl");
  read_binary (doc, section, service);
  service->group = read_optional (doc, section, "LoadOrderGroup");
  service->start_name = read_optional (doc, section, "StartName");
  service->display_name = h2k_inf_token (doc, h2k_inf_raw (display, 0), section->number);
  service->description = h2k_inf_token (doc, h2k_inf_raw (description, 0), section->number);
  service->dependencies = read_list (doc, section, "Dependencies");
  h2k_inf_read_reg (doc, section, service->reg);
}

/* The event log's part of an AddService line: fields 3 to 5. */
static void
read_event_log (InfDoc *doc, const InfLine *line, H2kInfService *service)
{
  g_autofree char *name = h2k_inf_text (doc, line, 3);
  g_autofree char *log = h2k_inf_text (doc, line, 4);
  g_autofree char *event = h2k_inf_text (doc, line, 5);
  InfSection *section = h2k_inf_section (doc, name);

  if (*name == '\0')
    return;
  if (!section)
    {
      g_autofree char *safe = h2k_escape_text (name, -1);
      h2k_inf_warn (doc, line->number, "there is no section [%s] for the event log", safe);
      return;
    }
  service->event_log = g_strdup (*log ? log : "System");
  service->event_name = g_strdup (*event ? event : service->name);
  h2k_inf_read_reg (doc, section, service->event_reg);
}

/* Whether NAME can be the name of a key below Services. */
static gboolean
is_service_name (const char *name)
{
  return strlen (name) < 256 && !strpbrk (name, "\\/");
}

static void
read_service (InfDoc *doc, const InfLine *line, GPtrArray *services)
{
  g_autofree char *name = h2k_inf_text (doc, line, 0);
  g_autofree char *section_name = h2k_inf_text (doc, line, 2);
  InfSection *section = h2k_inf_section (doc, section_name);
  H2kInfService *service = g_new0 (H2kInfService, 1);

  service->flags = h2k_inf_number (doc, line, 1, 0);
  service->is_function = (service->flags & SPSVCINST_ASSOCSERVICE) != 0;
  service->reg = new_reg_list ();
  service->event_reg = new_reg_list ();
  g_ptr_array_add (services, service);
  if (*name == '\0')
    {
      service->binary = g_strdup ("");
      service->display_name.text = g_strdup ("");
      service->description.text = g_strdup ("");
      service->dependencies = g_new0 (char *, 1);
      return;
    }
  service->name = g_steal_pointer (&name);
  if (!is_service_name (service->name))
    h2k_inf_fail (doc, line->number, H2K_ERROR_FORMAT, "a service cannot have this name");
  else if (!section)
    {
      g_autofree char *safe = h2k_escape_text (section_name, -1);
      h2k_inf_fail (doc, line->number, H2K_ERROR_FORMAT, "there is no section [%s] for the service",
                    safe);
    }
  else
    {
      read_service_section (doc, section, service);
      read_event_log (doc, line, service);
    }
}

static InfSection *
companion (InfDoc *doc, const InfSection *section, const char *suffix)
{
  g_autofree char *name = g_strconcat (section->name, suffix, NULL);

  return h2k_inf_section (doc, name);
}

H2kInfInstall *
h2k_inf_read_install (InfDoc *doc, const char *name, guint number)
{
  const InfSection *section = h2k_inf_decorated (doc, name);
  const InfSection *services, *co_installers;
  H2kInfInstall *install;
  const InfLine *line;
  guint cursor = 0;

  if (!section)
    {
      g_autofree char *safe = h2k_escape_text (name, -1);
      h2k_inf_fail (doc, number, H2K_ERROR_FORMAT,
                    "there is no install section [%s] for the device", safe);
      return NULL;
    }
  install = g_new0 (H2kInfInstall, 1);
  install->name = g_strdup (name);
  install->decorated = g_strdup (section->name);
  install->files = new_file_list ();
  install->co_files = new_file_list ();
  install->reg = new_reg_list ();
  install->hw_reg = new_reg_list ();
  install->co_reg = new_reg_list ();
  install->services = g_ptr_array_new_with_free_func ((GDestroyNotify)service_free);
  install->include = read_list (doc, section, "Include");
  install->needs = read_list (doc, section, "Needs");
  h2k_inf_read_files (doc, section, install->files);
  h2k_inf_read_reg (doc, section, install->reg);
  h2k_inf_read_reg (doc, companion (doc, section, ".HW"), install->hw_reg);
  co_installers = companion (doc, section, ".CoInstallers");
  h2k_inf_read_files (doc, co_installers, install->co_files);
  h2k_inf_read_reg (doc, co_installers, install->co_reg);
  services = companion (doc, section, ".Services");
  while ((line = h2k_inf_next (doc, services, "AddService", &cursor)))
    if (h2k_inf_charge (doc, line->number))
      read_service (doc, line, install->services);
  return install;
}
