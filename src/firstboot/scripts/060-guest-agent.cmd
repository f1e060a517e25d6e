@echo off
rem 060-guest-agent.cmd - installs QEMU's guest agent where its package was given.
rem
rem 1618: another installation is at work, as is likely at boot; it is waited for.
rem
rem SPDX-License-Identifier: GPL-2.0-or-later
setlocal
if not exist "%H2K_DATA%\qemu-ga.msi" exit 0
set tries=0
:again
start "" /wait "%SystemRoot%\System32\msiexec.exe" /i "%H2K_DATA%\qemu-ga.msi" /qn /norestart /l* "%H2K_DIR%\qemu-ga.log"
set code=%errorlevel%
set /a tries=tries+1
if not %code%==1618 goto end
if %tries%==10 goto end
echo another installation is at work
ping -n 31 127.0.0.1 >nul
goto again
:end
exit %code%
