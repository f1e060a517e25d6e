@echo off
rem 010-drivers.cmd - installs the driver packages below %H2K_DIR%\drivers.
rem
rem pnputil does it from Vista on, with one syntax until early Windows 10 and another one since;
rem XP and 2003 have none, and are served by the program itself.
rem Publishers' certificates (*.cer) beside the packages are trusted first, so that nobody is asked.
rem Then what was written into the registry offline for the same drivers is dropped, where the list
rem %H2K_DATA%\offline-drivers.txt is there.
rem
rem SPDX-License-Identifier: GPL-2.0-or-later
setlocal
set failed=0
set reboot=0
set pnputil=%SystemRoot%\System32\pnputil.exe
set certutil=%SystemRoot%\System32\certutil.exe
if not exist "%H2K_DIR%\drivers" goto forget
if not exist "%certutil%" goto install
for /r "%H2K_DIR%\drivers" %%c in (*.cer) do "%certutil%" -f -addstore TrustedPublisher "%%c"
:install
for /r "%H2K_DIR%\drivers" %%i in (*.inf) do call :driver "%%i"
:forget
if not exist "%H2K_DATA%\offline-drivers.txt" goto end
"%H2K_EXE%" --forget-drivers "%H2K_DATA%\offline-drivers.txt"
if errorlevel 1 echo entries that were made offline could not all be dropped
:end
if %failed%==1 exit 1
if %reboot%==1 exit 3010
exit 0

:driver
echo installing %1
if not exist "%pnputil%" goto helper
"%pnputil%" /add-driver %1 /install
call :judge %errorlevel%
if %known%==1 goto :eof
"%pnputil%" -i -a %1
call :judge %errorlevel%
if %known%==1 goto :eof
:helper
"%H2K_EXE%" --install-driver %1
call :judge %errorlevel%
if %known%==1 goto :eof
echo %1 could not be installed
set failed=1
goto :eof

rem 259: no device needs it, or those that do have it already.
:judge
set known=0
if %1==0 set known=1
if %1==259 set known=1
if %1==3010 set known=1
if %1==1641 set known=1
if %1==3010 set reboot=1
if %1==1641 set reboot=1
goto :eof
